//! Who holds a TCP port, for the remedy of an `address_in_use` refusal. Best effort: /proc may hide other users.

use std::{fs, net::SocketAddr, path::Path};

/// `name (pid 123)` of a process that listens on this port.
pub(super) fn of(address: SocketAddr) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .flat_map(|path| listeners(path, address.port()))
        .collect();
    let numbered =
        |entry: &fs::DirEntry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
    let processes = fs::read_dir("/proc").ok()?.flatten().filter(numbered);
    processes.map(|entry| entry.path()).find(|process| holds(process, &inodes)).map(|process| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        let pid = process.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("`{}` (pid {pid})", name.trim())
    })
}

/// Inodes of the sockets in state LISTEN (0A) on `port` (proc(5)).
fn listeners(path: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let table = fs::read_to_string(path).unwrap_or_default();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter_map(|row| match row.as_slice() {
        [_, local, _, "0A", _, _, _, _, _, inode, ..] if local.ends_with(&wanted) => {
            Some(format!("socket:[{inode}]"))
        }
        _ => None,
    })
    .collect()
}

fn holds(process: &Path, inodes: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
}
