//! The control socket as a file: made with the right owner and mode, a stale one replaced, a live one respected.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _, chown},
    path::Path,
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use super::Writers;
use crate::base::Refusal;

/// `sun_path` of unix(7) less its terminating zero.
const MAX_PATH: usize = 107;

/// Binds the control socket.
///
/// # Errors
/// Another daemon answers there, something else than a socket has the name, or the directory may not be written.
pub fn bind(path: &Path, mode: u32, writers: &Writers) -> Result<UnixListener, Refusal> {
    let refused = |what: &str, error: io::Error| {
        Refusal::new("socket_unusable", format!("cannot {what} the control socket: {error}"))
            .field("socket", path.display())
            .remedy("name another one with --socket, or correct the directory's permissions")
    };
    if path.as_os_str().len() > MAX_PATH {
        return Err(Refusal::new("socket_unusable", "the path of the control socket is too long")
            .field("socket", path.display())
            .limit(format!("{MAX_PATH} bytes"))
            .remedy("name a shorter one with --socket"));
    }
    if let Some(parent) = path.parent() {
        // Others may look up the socket in it, so that they get an answer (403) and not a puzzle.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(|error| refused("make the directory of", error))?;
    }
    clear(path).map_err(|failure| match failure {
        Taken::Answers => {
            Refusal::new("already_running", "another gateway daemon answers on the control socket")
                .field("socket", path.display())
                .remedy("stop it first, or use another --state and --socket")
        }
        Taken::NotASocket => Refusal::new("socket_unusable", "a file that is not a socket has this name")
            .field("socket", path.display())
            .remedy("remove it, or name another one with --socket"),
        Taken::Failed(error) => refused("replace", error),
    })?;
    let listener = UnixListener::bind(path).map_err(|error| refused("bind", error))?;
    let finish = || {
        if let Some(gid) = writers.gid() {
            chown(path, None, Some(gid))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    finish().map_err(|error| refused("set the owner and mode of", error))?;
    Ok(listener)
}

enum Taken {
    Answers,
    NotASocket,
    Failed(io::Error),
}

/// Removes a socket that a daemon left behind: one that nobody accepts on.
fn clear(path: &Path) -> Result<(), Taken> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Taken::Failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(Taken::NotASocket),
        Ok(_) => {}
    }
    match knock(path) {
        Ok(()) => Err(Taken::Answers),
        // A daemon that is behind with accepting is still a daemon.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Taken::Answers),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(Taken::Failed)
        }
        Err(error) => Err(Taken::Failed(error)),
    }
}

/// Connects without waiting: with a full backlog a blocking connect would hang here (unix(7)).
fn knock(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::PermissionsExt as _, net};

    use super::{super::Writers, bind};

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/control.sock");
        let writers = Writers::new(None).unwrap();
        let first = bind(&path, 0o660, &writers).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(bind(&path, 0o660, &writers).unwrap_err().code, "already_running");
        drop(first);
        bind(&path, 0o600, &writers).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_file_and_a_long_path_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "precious").unwrap();
        let writers = Writers::new(None).unwrap();
        assert_eq!(bind(&path, 0o600, &writers).unwrap_err().code, "socket_unusable");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let long = dir.path().join("x".repeat(120));
        assert!(bind(&long, 0o600, &writers).unwrap_err().limit.is_some());
        // A bound socket without an accepter answers with ECONNREFUSED only once it is closed.
        drop(net::UnixListener::bind(dir.path().join("s")).unwrap());
        bind(&dir.path().join("s"), 0o600, &writers).unwrap();
    }
}
