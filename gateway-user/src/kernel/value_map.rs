//! Maps of one large value, and what puts them into a map of maps: aya knows values of a fixed size only, and hands
//! them over by value.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper for values of any length")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// What lists are made of.
pub(crate) trait Number: Copy + Default + PartialEq {}

impl Number for u32 {}
impl Number for u64 {}

/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;

const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP: libc::c_long = 1;
const MAP_UPDATE: libc::c_long = 2;
const MAP_DELETE: libc::c_long = 3;

/// The beginning of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// The same for the commands about an element.
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// An array map of one element.
pub(crate) struct ValueMap {
    fd: OwnedFd,
}

impl ValueMap {
    /// Makes a map that holds `value`, and reads it back.
    ///
    /// # Errors
    /// The kernel refused, or holds something else than was written.
    pub(crate) fn create<N: Number>(value: &[N], flags: u32) -> io::Result<Self> {
        let bytes = size_of_val(value);
        let value_size = u32::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let attributes =
            Create { map_type: ARRAY, key_size: 4, value_size, max_entries: 1, map_flags: flags };
        // SAFETY: the attributes of BPF_MAP_CREATE, as long as is said.
        let fd = unsafe { bpf(MAP_CREATE, &attributes) }?;
        let fd = i32::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        // SAFETY: a new descriptor that nobody else has.
        let map = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        // SAFETY: `value` is as long as the map's value.
        unsafe { element(MAP_UPDATE, map.fd.as_fd(), 0, value.as_ptr() as u64) }?;
        if map.read(value)? {
            Ok(map)
        } else {
            Err(io::Error::other("it holds something else than was written"))
        }
    }

    fn read<N: Number>(&self, expected: &[N]) -> io::Result<bool> {
        let mut value = vec![N::default(); expected.len()];
        // SAFETY: `value` is as long as the map's value, and writable.
        unsafe { element(MAP_LOOKUP, self.fd.as_fd(), 0, value.as_mut_ptr() as u64) }?;
        Ok(value == expected)
    }
}

/// Puts `inner` at `index` of a map of maps. On return no CPU uses what was there.
///
/// # Errors
/// The kernel refused.
pub(crate) fn put(outer: BorrowedFd<'_>, index: u32, inner: &ValueMap) -> io::Result<()> {
    let descriptor = inner.fd.as_raw_fd().cast_unsigned();
    // SAFETY: the value of a map of maps is the descriptor of the inner map, 4 bytes.
    unsafe { element(MAP_UPDATE, outer, index, &raw const descriptor as u64) }
}

/// Whether there is a map at `index`.
///
/// # Errors
/// The kernel refused.
pub(crate) fn is_taken(outer: BorrowedFd<'_>, index: u32) -> io::Result<bool> {
    let mut id = 0_u32;
    // SAFETY: the value of a map of maps is read as an id of 4 bytes.
    match unsafe { element(MAP_LOOKUP, outer, index, &raw mut id as u64) } {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the map at `index` away.
///
/// # Errors
/// The kernel refused.
pub(crate) fn remove(outer: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    // SAFETY: the command looks at no value.
    match unsafe { element(MAP_DELETE, outer, index, 0) } {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// # Safety
/// `value` points to as many bytes as the command reads or writes there.
unsafe fn element(command: libc::c_long, map: BorrowedFd<'_>, key: u32, value: u64) -> io::Result<()> {
    let attributes = Element {
        map: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: &raw const key as u64,
        value,
        flags: 0,
    };
    // SAFETY: the attributes of a command about an element, and a key of 4 bytes that lives until it returns.
    unsafe { bpf(command, &attributes) }.map(drop)
}

/// # Safety
/// `attributes` are what the command takes.
unsafe fn bpf<A>(command: libc::c_long, attributes: &A) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads no more of the attributes than their size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
