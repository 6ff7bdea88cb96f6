//! Asks a network driver what it is and whether it strips VLAN tags, by the ethtool ioctl.
#![expect(unsafe_code, reason = "there is no safe wrapper for SIOCETHTOOL")]

use std::{
    os::fd::AsRawFd as _,
    ptr::{addr_of_mut, null_mut},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

const GET_DRIVER_INFO: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
/// `ETH_FLAG_RXVLAN` (linux/ethtool.h).
const FLAG_RX_VLAN: u32 = 1 << 8;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// The driver's name, such as `virtio_net`.
pub(crate) fn driver(interface: &str) -> Option<String> {
    let mut info = DriverInfo { command: GET_DRIVER_INFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: the command is the first word, and the kernel fills exactly a `struct ethtool_drvinfo` (196 bytes).
    unsafe { ask(interface, addr_of_mut!(info).cast()) }?;
    let name = info.driver.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Whether the interface takes VLAN tags off before an XDP program sees the packet. `None`: it cannot tell.
pub(crate) fn strips_vlan(interface: &str) -> Option<bool> {
    let mut value = Value { command: GET_FLAGS, data: 0 };
    // SAFETY: the command is the first word, and the kernel fills exactly a `struct ethtool_value` (8 bytes).
    unsafe { ask(interface, addr_of_mut!(value).cast()) }?;
    Some(value.data & FLAG_RX_VLAN != 0)
}

/// # Safety
/// `request` points to the structure that belongs to the ethtool command in its first word, writable.
unsafe fn ask(interface: &str, request: *mut libc::c_char) -> Option<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
    let mut name = [0 as libc::c_char; libc::IFNAMSIZ];
    if interface.len() >= name.len() {
        return None;
    }
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    let mut frame =
        libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: null_mut() } };
    frame.ifr_ifru.ifru_data = request;
    // SAFETY: `frame` is a complete ifreq with a terminated name, and `request` is what the caller promises.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, addr_of_mut!(frame)) };
    (result == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::{DriverInfo, driver, strips_vlan};

    #[test]
    fn unknown_interfaces_have_no_driver() {
        assert_eq!(size_of::<DriverInfo>(), 196);
        assert_eq!(driver("no-such-if"), None);
        assert_eq!(strips_vlan("a-name-that-is-far-too-long"), None);
    }
}
