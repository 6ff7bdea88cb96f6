//! How fast a client takes what it is sent. While the socket is full, the kernel says how much of it the client has
//! taken, which a write would learn only when a large part of the buffer is free.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::proxy::rate::Floor;

mod ioctl {
    nix::ioctl_read_bad!(
        /// Bytes of a TCP socket that the peer has not acknowledged (SIOCOUTQ, tcp(7)).
        outq,
        nix::libc::TIOCOUTQ,
        nix::libc::c_int
    );
}

/// One client's side of the socket.
#[derive(Debug)]
pub(crate) struct Outflow {
    floor: Floor,
    /// Bytes in the socket when the kernel was asked last, and when that was.
    queued: u64,
    asked: u32,
}

// === impl Outflow ===

impl Outflow {
    /// The client must take at least `rate` bytes per second, and something every `patience` ticks.
    pub(crate) fn new(rate: u32, patience: u32) -> Self {
        Self { floor: Floor::new(rate, patience), queued: 0, asked: 0 }
    }

    /// The socket is full. Returns the tick at which the client is too slow if nothing changes.
    pub(crate) fn blocked(&mut self, socket: BorrowedFd<'_>, tick: u32) -> u32 {
        if self.asked != tick {
            let queued = queued(socket);
            // The first look after a write only begins the wait.
            if self.asked != 0 {
                self.floor.note(self.queued.saturating_sub(queued), tick);
            }
            (self.queued, self.asked) = (queued, tick);
        }
        self.floor.wait(tick);
        self.floor.due().unwrap_or(u32::MAX)
    }

    /// The socket took something, so the client took at least as much.
    pub(crate) fn wrote(&mut self, bytes: usize, tick: u32) {
        if self.asked != 0 {
            self.floor.note(bytes as u64, tick);
            self.asked = 0;
        }
    }
}

/// A socket that cannot say it holds nothing that anybody could be slow with.
fn queued(socket: BorrowedFd<'_>) -> u64 {
    let mut bytes = 0;
    #[expect(unsafe_code, reason = "asks the kernel about a socket that is borrowed for the call")]
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes one int to the given place.
    let answer = unsafe { ioctl::outq(socket.as_raw_fd(), &raw mut bytes) };
    answer.map_or(0, |_| u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::fd::AsFd as _,
        time::{Duration, Instant},
    };

    use super::{Outflow, queued};

    fn full() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut writer, _) = listener.accept().unwrap();
        writer.set_nonblocking(true).unwrap();
        let block = [7; 64 << 10];
        loop {
            match writer.write(&block) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return (writer, reader),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_is_late_and_a_slow_one_is_not() {
        let (writer, mut reader) = full();
        let before = queued(writer.as_fd());
        assert!(before > 0);
        let (mut stuck, mut slow) = (Outflow::new(240, 600), Outflow::new(240, 600));
        assert_eq!((stuck.blocked(writer.as_fd(), 10), slow.blocked(writer.as_fd(), 10)), (610, 610));
        assert_eq!(stuck.blocked(writer.as_fd(), 300), 610);
        // The reader takes a part that is too small for the socket to take more.
        let mut taken = vec![0; 256 << 10];
        let start = Instant::now();
        while queued(writer.as_fd()) == before {
            let _ = reader.read(&mut taken).unwrap();
            assert!(start.elapsed() < Duration::from_secs(20));
        }
        assert!(slow.blocked(writer.as_fd(), 300) > 610);
        stuck.wrote(1 << 20, 301);
        assert_eq!(stuck.blocked(writer.as_fd(), 400), 1000);
    }
}
