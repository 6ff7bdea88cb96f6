//! How much memory this process may use: what the machine has, or the smallest limit among its control groups.

use std::{fs, path::Path};

/// The share of that memory which connections and requests may take. The other half is for what is not theirs: the
/// allocator's slack, sockets' buffers in the kernel, the filter's tables, the control plane and its store.
const SHARE: u64 = 2;
/// What is assumed where neither /proc nor a control group says anything.
const UNKNOWN: u64 = 1 << 30;

/// All that this process may use.
pub(super) fn usable() -> u64 {
    available(Path::new("/proc"), Path::new("/sys/fs/cgroup")).unwrap_or(UNKNOWN)
}

/// The budget where the settings name none.
pub(super) fn share(usable: u64) -> u64 {
    usable / SHARE
}

fn available(proc: &Path, groups: &Path) -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let machine = read(&proc.join("meminfo")).and_then(|text| total(&text));
    let membership = read(&proc.join("self/cgroup")).unwrap_or_default();
    let limits = files(&membership).into_iter().filter_map(|file| limit(&read(&groups.join(file))?));
    machine.into_iter().chain(limits).min()
}

/// `MemTotal` of /proc/meminfo (proc(5)), which is in KiB.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The files with the limits of the control groups that a /proc/self/cgroup names (cgroups(7)), and of those above
/// them. Inside a container the named path may not be there; the root of what is mounted is, so it is always asked.
fn files(membership: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => ("memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let mut path = path.trim_matches('/');
        loop {
            let place = [mount, path, file].into_iter().filter(|part| !part.is_empty());
            files.push(place.collect::<Vec<_>>().join("/"));
            if path.is_empty() {
                break;
            }
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }
    files
}

/// A limit in bytes. `max` is none; neither is the old version's number that nobody can have.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| (1..1 << 60).contains(bytes))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{available, files, limit};

    #[test]
    fn every_group_above_is_asked() {
        assert_eq!(files("0::/a/b\n"), ["a/b/memory.max", "a/memory.max", "memory.max"]);
        assert_eq!(
            files("5:cpu,memory:/x\n4:cpuset:/y\n0::/\n"),
            ["memory/x/memory.limit_in_bytes", "memory/memory.limit_in_bytes", "memory.max"]
        );
        assert_eq!(files("nonsense\n\n1:memory"), <[String; 0]>::default());
    }

    #[test]
    fn the_smallest_limit_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (proc, groups) = (folder.path().join("proc"), folder.path().join("groups"));
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(available(&proc, &groups), None);
        write(&proc.join("meminfo"), "MemFree: 5 kB\nMemTotal:       2048 kB\n");
        assert_eq!(available(&proc, &groups), Some(2 << 20));
        write(&proc.join("self/cgroup"), "0::/a/b\n");
        write(&groups.join("a/b/memory.max"), "max\n");
        assert_eq!(available(&proc, &groups), Some(2 << 20));
        write(&groups.join("a/memory.max"), "1048576\n");
        assert_eq!(available(&proc, &groups), Some(1 << 20));
        write(&groups.join("memory.max"), "9999999999\n");
        assert_eq!(available(&proc, &groups), Some(1 << 20));
        assert_eq!(limit("9223372036854771712\n"), None);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(super::share(super::usable()) > 1 << 20);
    }
}
