//! What the kernel says about the program on an interface: attached how, run how often.

#![expect(unsafe_code, reason = "loading a program of eight bytes needs the system call itself")]

use std::{
    ffi::CString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use serde_json::Value;

use crate::netns::NetNs;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes a packet of the frame.
    Native,
    Generic,
    Other,
}

/// The program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub mode: Mode,
    pub id: u32,
    pub name: String,
}

/// The XDP program on `interface`, read from `ip -d -j link`.
#[must_use]
#[track_caller]
pub fn attached(namespace: &NetNs, interface: &str) -> Option<Attached> {
    let text = namespace.ip(&["-d", "-j", "link", "show", "dev", interface]);
    let links: Value = serde_json::from_str(&text).expect("ip speaks JSON");
    let xdp = links[0].get("xdp")?;
    let id = u32::try_from(xdp["prog"]["id"].as_u64()?).ok()?;
    // linux/if_link.h: XDP_ATTACHED_DRV is 1, XDP_ATTACHED_SKB is 2.
    let mode = match xdp["mode"].as_u64() {
        Some(1) => Mode::Native,
        Some(2) => Mode::Generic,
        _ => Mode::Other,
    };
    Some(Attached { mode, id, name: xdp["prog"]["name"].as_str().unwrap_or_default().to_owned() })
}

/// While this lives, the kernel counts how often each program runs.
#[derive(Debug)]
pub struct Counting {
    _statistics: OwnedFd,
}

// === impl Counting ===

impl Counting {
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime).expect("BPF_ENABLE_STATS");
        Self { _statistics: statistics }
    }

    /// Runs of the program with this id so far; `None` when it is gone.
    #[must_use]
    pub fn runs(&self, id: u32) -> Option<u64> {
        aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == id)
            .map(|program| program.run_count())
    }
}

/// Attaches a program of nobody's, `foreign`, which passes everything, and pins it at `pin`.
///
/// # Panics
/// The kernel refuses it.
#[track_caller]
pub fn attach_foreign(namespace: &NetNs, interface: &str, pin: &Path) {
    // r0 = XDP_PASS; exit.
    let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
    let license = c"GPL";
    // union bpf_attr for BPF_PROG_LOAD: type, count, instructions, license, log level, size and buffer, version, flags,
    // name.
    let mut load = [0_u8; 64];
    load[..4].copy_from_slice(&6_u32.to_ne_bytes());
    load[4..8].copy_from_slice(&2_u32.to_ne_bytes());
    load[8..16].copy_from_slice(&(instructions.as_ptr() as u64).to_ne_bytes());
    load[16..24].copy_from_slice(&(license.as_ptr() as u64).to_ne_bytes());
    load[48..55].copy_from_slice(b"foreign");
    let program = bpf(5, &mut load);
    let path = CString::new(pin.as_os_str().as_bytes()).expect("a path");
    let mut object = [0_u8; 16];
    object[..8].copy_from_slice(&(path.as_ptr() as u64).to_ne_bytes());
    object[8..12].copy_from_slice(&program.to_ne_bytes());
    bpf(6, &mut object);
    // SAFETY: the descriptor was returned by the kernel just now and is used nowhere else.
    drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(program) });
    let pin = pin.to_str().expect("test paths are UTF-8");
    namespace.check("ip", &["link", "set", "dev", interface, "xdpdrv", "pinned", pin]);
}

/// Takes the program of [`attach_foreign`] off again.
#[track_caller]
pub fn detach_foreign(namespace: &NetNs, interface: &str) {
    namespace.ip(&["link", "set", "dev", interface, "xdpdrv", "off"]);
}

fn bpf(command: libc::c_int, attributes: &mut [u8]) -> i32 {
    // SAFETY: the attributes are a valid buffer of the length given, and what they point at outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), attributes.len()) };
    assert!(result >= 0, "bpf({command}): {}", io::Error::last_os_error());
    i32::try_from(result).expect("a descriptor fits")
}
