//! Puts the XDP program that `cargo xtask build-ebpf` made into the gateway.
//!
//! It is read by the loader like this (aligned, because it is parsed in place):
//!
//! ```ignore
//! aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/gateway-ebpf"))
//! ```
//!
//! There is no gateway without its filter: a missing object, and one that was built from other sources than those
//! that lie here now, end the build with the cure. It is not built from here, because it needs another compiler
//! and a build script that starts cargo again waits for a lock that its parent holds. `GATEWAY_EBPF_OBJECT` names an
//! object by hand; then its sources are the caller's affair.

#[path = "../xtask/src/fingerprint.rs"]
mod fingerprint;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const BY_HAND: &str = "GATEWAY_EBPF_OBJECT";
const CURE: &str = "run `cargo xtask build-ebpf`, then build again";

fn main() {
    // cargo fails the build at this line; a non-zero exit would bury it under everything printed so far.
    if let Err(why) = embed() {
        println!("cargo::error={why}");
    }
}

fn embed() -> Result<(), String> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the package lies at the root of the disk")?;
    println!("cargo::rerun-if-env-changed={BY_HAND}");
    let object = match env::var_os(BY_HAND) {
        Some(object) => PathBuf::from(object),
        None => {
            let object = root.join("target/bpf/gateway-ebpf");
            check_sources(root, &object)?;
            object
        }
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::copy(&object, Path::new(&out).join("gateway-ebpf"))
        .map(drop)
        .map_err(|error| format!("the XDP program {} cannot be embedded ({error}): {CURE}", object.display()))
}

/// Refuses an object that was built from other sources.
fn check_sources(root: &Path, object: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed={}", fingerprint::beside(object).display());
    // Directories too, so that a file that comes or goes is noticed.
    for package in ["gateway-ebpf", "gateway-common"] {
        println!("cargo::rerun-if-changed={}", root.join(package).join("src").display());
        println!("cargo::rerun-if-changed={}", root.join(package).join("Cargo.toml").display());
    }
    println!("cargo::rerun-if-changed={}", root.join("xtask/src/fingerprint.rs").display());
    if !object.exists() {
        return Err(format!("the XDP program {} is not there: {CURE}", object.display()));
    }
    let now =
        fingerprint::of_sources(root).map_err(|error| format!("the sources cannot be read: {error}"))?;
    let then = fs::read_to_string(fingerprint::beside(object)).unwrap_or_default();
    if now != then {
        return Err(format!("the XDP program {} was built from other sources: {CURE}", object.display()));
    }
    Ok(())
}
