//! What the kernel says of an attachment: which device a link is on, and which programs run at a device's ingress.
//!
//! aya reads links without their device, and lists programs only for who may look at every program of the host
//! (CAP_SYS_ADMIN), which the daemon gave up.
#![expect(unsafe_code, reason = "there is no safe wrapper for these bpf(2) commands")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// A link, as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    pub(crate) kind: u32,
    pub(crate) program: u32,
    /// 0: its device is gone, or somebody detached it by force.
    pub(crate) ifindex: u32,
}

// linux/bpf.h: commands, `enum bpf_link_type`, `enum bpf_attach_type`.
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const TCX_INGRESS: u32 = 46;
pub(crate) const LINK_XDP: u32 = 6;
pub(crate) const LINK_TCX: u32 = 11;
/// As many programs as the kernel takes at one hook.
const MOST: usize = 64;

/// The link that is pinned at `pin`.
///
/// # Errors
/// There is none, or it cannot be read.
pub(crate) fn pinned(pin: &Path) -> io::Result<LinkInfo> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attributes = [0_u8; 16];
    attributes[..8].copy_from_slice(&(path.as_ptr() as u64).to_ne_bytes());
    let file = bpf(OBJ_GET, &mut attributes)?;
    // SAFETY: the kernel made the descriptor just now, for this call.
    let link = unsafe { OwnedFd::from_raw_fd(file) };
    // `struct bpf_link_info`: type, id, program, and at 16 a union that begins with the device for both kinds.
    let mut info = [0_u8; 64];
    let mut attributes = [0_u8; 16];
    attributes[..4].copy_from_slice(&link.as_raw_fd().to_ne_bytes());
    attributes[4..8].copy_from_slice(&(info.len() as u32).to_ne_bytes());
    attributes[8..].copy_from_slice(&(info.as_mut_ptr() as u64).to_ne_bytes());
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(LinkInfo { kind: word(&info, 0), program: word(&info, 8), ifindex: word(&info, 16) })
}

/// The programs at the ingress of the device `ifindex`, in the order in which they run.
///
/// # Errors
/// Not permitted, no such device, or a kernel before 6.6.
pub(crate) fn ingress_programs(ifindex: u32) -> io::Result<Vec<u32>> {
    let mut programs = [0_u32; MOST];
    // Device, attach type, two flags, pointer, count; the rest asks for what nobody reads here.
    let mut attributes = [0_u8; 64];
    attributes[..4].copy_from_slice(&ifindex.to_ne_bytes());
    attributes[4..8].copy_from_slice(&TCX_INGRESS.to_ne_bytes());
    attributes[16..24].copy_from_slice(&(programs.as_mut_ptr() as u64).to_ne_bytes());
    attributes[24..28].copy_from_slice(&(MOST as u32).to_ne_bytes());
    bpf(PROG_QUERY, &mut attributes)?;
    let count = word(&attributes, 24) as usize;
    Ok(programs.into_iter().take(count).collect())
}

fn bpf(command: libc::c_int, attributes: &mut [u8]) -> io::Result<i32> {
    // SAFETY: `attributes` is writable for the length that is given, and every pointer in it is to memory that the
    // caller holds until this returns and that is as long as it says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), attributes.len()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn word(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(|bytes| bytes.first_chunk()).map_or(0, |chunk| u32::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::{ingress_programs, pinned};

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(pinned("/no/such/pin".as_ref()).is_err());
        assert!(ingress_programs(u32::MAX).is_err());
    }
}
