//! The fingerprint of the sources that an eBPF object was built from.
//!
//! `build-ebpf` writes it beside the object and the build script of gateway-user, which includes this very file,
//! computes it again: a stale object is refused, never embedded. Contents and not times are compared, because a
//! checkout or a cache restored by CI gives old files new times and the other way round.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The packages that end up in the object, relative to the workspace's root.
const PACKAGES: [&str; 2] = ["gateway-ebpf", "gateway-common"];

/// The files that the object depends on, sorted.
pub(crate) fn sources(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for package in PACKAGES {
        files.push(root.join(package).join("Cargo.toml"));
        collect(&root.join(package).join("src"), &mut files)?;
    }
    files.sort();
    Ok(files)
}

/// FNV-1a over the names and contents of [`sources`]; it guards against forgetting, not against malice.
pub(crate) fn of_sources(root: &Path) -> io::Result<String> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for file in sources(root)? {
        feed(file.strip_prefix(root).unwrap_or(&file).as_os_str().as_encoded_bytes());
        feed(&fs::read(&file)?);
    }
    Ok(format!("{hash:016x}"))
}

/// Where the fingerprint of an object is kept.
pub(crate) fn beside(object: &Path) -> PathBuf {
    object.with_extension("sources")
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
