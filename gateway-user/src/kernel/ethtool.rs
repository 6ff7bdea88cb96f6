//! Asks a network driver what it is and how it is set up, by the ethtool ioctl.
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
/// `ETH_FLAG_LRO`.
const FLAG_LRO: u32 = 1 << 15;
const GET_RING: u32 = 0x10;
const GET_STRINGS: u32 = 0x1b;
const GET_SET_SIZES: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const GET_CHANNELS: u32 = 0x3c;
/// `ETH_SS_FEATURES`: the set of the features' names.
const FEATURE_NAMES: u32 = 4;
/// `ETH_GSTRING_LEN`.
const NAME: usize = 32;

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
    flag(interface, FLAG_RX_VLAN)
}

/// Whether the driver merges packets before the stack sees them.
pub(crate) fn lro(interface: &str) -> Option<bool> {
    flag(interface, FLAG_LRO)
}

fn flag(interface: &str, flag: u32) -> Option<bool> {
    let mut value = Value { command: GET_FLAGS, data: 0 };
    // SAFETY: the command is the first word, and the kernel fills exactly a `struct ethtool_value` (8 bytes).
    unsafe { ask(interface, addr_of_mut!(value).cast()) }?;
    Some(value.data & flag != 0)
}

/// Receive queues: in use, and at most.
pub(crate) fn queues(interface: &str) -> Option<(u32, u32)> {
    // `struct ethtool_channels`: command; at most: receive, transmit, other, combined; in use: the same.
    let mut words = [0_u32; 9];
    words[0] = GET_CHANNELS;
    // SAFETY: the command is the first word, and the structure is nine words.
    unsafe { ask(interface, words.as_mut_ptr().cast()) }?;
    let [_, most_receive, _, _, most_combined, receive, _, _, combined] = words;
    let (now, most) = (receive + combined, most_receive.max(most_combined));
    (most != 0).then_some((now, most))
}

/// Entries of a receive ring: in use, and at most.
pub(crate) fn ring(interface: &str) -> Option<(u32, u32)> {
    // `struct ethtool_ringparam`: command; at most: receive, mini, jumbo, transmit; in use: the same.
    let mut words = [0_u32; 9];
    words[0] = GET_RING;
    // SAFETY: as above.
    unsafe { ask(interface, words.as_mut_ptr().cast()) }?;
    let [_, most, _, _, _, now, ..] = words;
    (most != 0).then_some((now, most))
}

/// Whether the feature of this name is active.
pub(crate) fn feature(interface: &str, name: &str) -> Option<bool> {
    // `struct ethtool_sset_info`: command, reserved, mask (64 bits), one length per bit that is set.
    let mut sizes = [GET_SET_SIZES, 0, 1 << FEATURE_NAMES, 0, 0];
    // SAFETY: the mask has one bit, so the kernel writes one length, the last word.
    unsafe { ask(interface, sizes.as_mut_ptr().cast()) }?;
    let count = sizes[4] as usize;
    // `struct ethtool_gstrings`: command, set, length, names.
    let mut names = vec![0_u32; 3 + count * NAME / 4];
    for (word, value) in names.iter_mut().zip([GET_STRINGS, FEATURE_NAMES, sizes[4]]) {
        *word = value;
    }
    // SAFETY: the kernel writes `count` names of 32 bytes; their number does not change while the kernel runs.
    unsafe { ask(interface, names.as_mut_ptr().cast()) }?;
    let bytes: Vec<u8> = names.iter().skip(3).flat_map(|word| word.to_ne_bytes()).collect();
    let place = bytes
        .chunks_exact(NAME)
        .position(|text| text.split(|byte| *byte == 0).next() == Some(name.as_bytes()))?;
    // `struct ethtool_gfeatures`: command, blocks, and for each 32 features four words, of which the third is active.
    let blocks = count.div_ceil(32);
    let mut features = vec![0_u32; 2 + blocks * 4];
    for (word, value) in features.iter_mut().zip([GET_FEATURES, blocks as u32]) {
        *word = value;
    }
    // SAFETY: the kernel writes as many blocks as the second word says, which are there.
    unsafe { ask(interface, features.as_mut_ptr().cast()) }?;
    features.get(2 + place / 32 * 4 + 2).map(|active| active >> (place % 32) & 1 != 0)
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
    use super::{DriverInfo, driver, feature, lro, queues, ring, strips_vlan};

    #[test]
    fn unknown_interfaces_have_no_driver() {
        assert_eq!(size_of::<DriverInfo>(), 196);
        assert_eq!(driver("no-such-if"), None);
        assert_eq!(strips_vlan("a-name-that-is-far-too-long"), None);
        assert_eq!((queues("no-such-if"), ring("no-such-if"), lro("no-such-if")), (None, None, None));
    }

    #[test]
    fn the_loopback_device_tells_its_features() {
        assert_eq!(feature("lo", "rx-gro"), Some(true));
        assert_eq!(feature("lo", "rx-gro-hw"), Some(false));
        assert_eq!(feature("lo", "no-such-feature"), None);
    }
}
