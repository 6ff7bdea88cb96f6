//! What the filter does not know of a deleted endpoint: its address at other ports and by other protocols.
//!
//! The filter drops what is for the endpoint's ports, and echo. The address itself is gone from the interface, and for
//! anything else a host that forwards would say so: a redirect, or "host unreachable". A routing rule for the interface and
//! the address says nothing. The host's own connections to whoever has the address now do not come in anywhere, and so
//! are not concerned.

use std::{collections::BTreeSet, io};

use crate::{
    kernel::netlink::{self, Silence},
    snapshot::filter::{Echo, FilterPlan, ListenAddress},
};

/// The silent addresses of a policy.
pub(super) fn of(plan: &FilterPlan) -> BTreeSet<Silence> {
    let silent = plan.listeners.iter().filter(|listener| listener.echo == Echo::Silent);
    let each = silent.flat_map(|listener| {
        listener.addresses.iter().filter_map(|address| match address {
            ListenAddress::Ip(address) if !address.is_unspecified() => {
                Some(Silence { interface: listener.interface.clone(), address: *address })
            }
            ListenAddress::Ip(_) | ListenAddress::Any => None,
        })
    });
    each.collect()
}

/// Adds those of `wanted` that are missing. What the kernel refuses is said once (`refused` remembers it) and tried again:
/// the endpoint's own ports are silent without it.
pub(super) fn add(wanted: &BTreeSet<Silence>, refused: &mut BTreeSet<Silence>) {
    refused.retain(|silence| wanted.contains(silence));
    if wanted.is_empty() {
        return;
    }
    let there = netlink::silences().unwrap_or_default();
    for silence in wanted.difference(&there) {
        match netlink::silence(silence) {
            Ok(()) => {
                tracing::info!(interface = silence.interface, address = %silence.address, "address silenced");
                refused.remove(silence);
            }
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(error) if refused.insert(silence.clone()) => tracing::warn!(
                interface = silence.interface,
                address = %silence.address,
                %error,
                "a deleted endpoint's address is not silenced as a whole: a host that forwards may answer other ports"
            ),
            Err(_) => {}
        }
    }
}

/// Removes `silences`; those that are still there.
pub(super) fn remove(silences: impl IntoIterator<Item = Silence>) -> BTreeSet<Silence> {
    let stays = |silence: &Silence| match netlink::unsilence(silence) {
        Ok(()) => false,
        Err(error) if is_gone(&error) => false,
        Err(error) => {
            tracing::warn!(interface = silence.interface, address = %silence.address, %error, "a silenced address stays so");
            true
        }
    };
    silences.into_iter().filter(stays).collect()
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EAFNOSUPPORT))
}
