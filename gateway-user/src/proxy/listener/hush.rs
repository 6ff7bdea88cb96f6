//! Listening sockets that answer nothing, not even a SYN: those of a closed listener, and those on their way out.

use std::{
    io,
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use nix::errno::Errno;
use socket2::{SockFilter, SockRef};

/// The classic program "keep nothing" (bpf(4): BPF_RET | BPF_K, 0). The kernel asks it before it looks at a segment, so
/// the socket is like one that is not there, and unlike a closed port it sends no RST.
const NOTHING: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// Whether the sockets of one address are silent now.
#[derive(Debug, Default)]
pub(crate) struct Hush(AtomicBool);

impl Hush {
    /// Makes `sockets` silent, or lets them answer again. The check at accept stands behind them either way.
    pub(crate) fn set<'a>(&self, silent: bool, sockets: impl Iterator<Item = &'a TcpListener>) {
        if self.0.swap(silent, Relaxed) == silent {
            return;
        }
        for socket in sockets {
            if let Err(error) = set(&socket.into(), silent) {
                tracing::warn!(%error, silent, "a listening socket did not change between silent and answering");
            }
        }
    }
}

fn set(socket: &SockRef<'_>, silent: bool) -> io::Result<()> {
    if silent {
        return socket.attach_filter(&NOTHING);
    }
    match socket.detach_filter() {
        // There was none.
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    use super::Hush;

    #[test]
    fn a_silent_socket_answers_no_syn_until_it_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let knock =
            || TcpStream::connect_timeout(&address, Duration::from_millis(300)).map_err(|error| error.kind());
        let hush = Hush::default();
        let before = knock().unwrap();
        for _ in 0..2 {
            hush.set(true, [&listener].into_iter());
            assert_eq!(knock().unwrap_err(), ErrorKind::TimedOut);
        }
        // Connections that are established are none of its business.
        assert!(before.peer_addr().is_ok() && listener.accept().is_ok());
        hush.set(false, [&listener].into_iter());
        knock().unwrap();
    }
}
