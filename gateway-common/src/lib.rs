//! The filter's tables and its one decision, for kernel and userspace alike.
//!
//! This crate is `no_std`, has no dependencies and does no IO. The XDP program (`gateway-ebpf`), the daemon's check at
//! `accept()` and `gateway explain` all call [`decide::decide`] over the same table types, so a packet gets the same
//! verdict from each of them.
//!
//! Rules for every type that lives in a map: `#[repr(C)]`, no padding, no `bool`, no Rust `enum`, no `Option`; values
//! taken from a packet are kept as they came off the wire (network byte order), so no comparison ever swaps bytes.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(feature = "user")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod branch;
#[cfg(feature = "user")]
pub mod build;
pub mod counters;
pub mod decide;
pub mod defence;
pub mod event;
pub mod explain;
pub mod family;
pub mod layout;
pub mod list;
pub mod packet;
pub mod parse;
pub mod reason;
pub mod table;
