//! Pure: what is to be done so that interfaces have the wanted addresses, and no other of ours.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::record::Own;
use crate::{
    kernel::netlink::{Held, Link, TAG},
    snapshot::OwnedAddress,
};

/// What is to become of one wanted address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ours, and there.
    Keep,
    /// To be added to the interface of this number.
    Add(u32),
    /// There, and not ours.
    Foreign,
    /// No such interface now.
    Wait,
}

/// The steps of all wanted addresses, and what is there of ours that nobody wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<(OwnedAddress, Step)>,
    pub(super) remove: Vec<Own>,
}

/// The addresses that are there and ours: the record names them, and they carry our mark where the kernel keeps marks.
/// Without the mark somebody removed ours and added theirs.
pub(super) fn ours(present: &[Held], recorded: &BTreeSet<Own>, marks: bool) -> BTreeSet<Own> {
    present
        .iter()
        .filter(|held| !marks || held.tag == TAG)
        .map(|held| (held.index, held.address))
        .filter(|own| recorded.contains(own))
        .collect()
}

/// Compares.
pub(super) fn plan(wanted: &[OwnedAddress], links: &[Link], present: &[Held], ours: &BTreeSet<Own>) -> Plan {
    let indices: BTreeMap<&str, u32> = links.iter().map(|link| (link.name.as_str(), link.index)).collect();
    let mut kept = BTreeSet::new();
    let mut steps = Vec::new();
    for address in wanted {
        let step = match indices.get(address.interface.as_str()) {
            None => Step::Wait,
            Some(index) if ours.contains(&(*index, address.address)) => {
                kept.insert((*index, address.address));
                Step::Keep
            }
            // Another prefix of the same address is as good for an answer; one of ours is replaced.
            Some(index) if present.iter().any(|held| foreign(held, *index, address.address, ours)) => {
                Step::Foreign
            }
            Some(index) => Step::Add(*index),
        };
        steps.push((address.clone(), step));
    }
    Plan { steps, remove: ours.difference(&kept).copied().collect() }
}

fn foreign(held: &Held, index: u32, address: IpNet, ours: &BTreeSet<Own>) -> bool {
    held.index == index && held.address.addr() == address.addr() && !ours.contains(&(index, held.address))
}

#[cfg(test)]
mod tests {
    use super::{Held, Link, OwnedAddress, Step, TAG, ours, plan};

    fn held(index: u32, address: &str, tag: u8) -> Held {
        Held { index, address: address.parse().unwrap(), tag }
    }

    #[test]
    fn only_what_is_recorded_and_marked_is_ours() {
        let present = [held(2, "10.0.0.1/24", TAG), held(3, "10.0.0.1/24", TAG), held(2, "10.0.0.2/24", 0)];
        let recorded = [(2, "10.0.0.1/24".parse().unwrap()), (2, "10.0.0.2/24".parse().unwrap())].into();
        let names = |marks| {
            ours(&present, &recorded, marks)
                .into_iter()
                .map(|(_, address)| address.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(true), ["10.0.0.1/24"]);
        assert_eq!(names(false), ["10.0.0.1/24", "10.0.0.2/24"], "a kernel without marks");
    }

    #[test]
    fn every_address_has_its_step() {
        let link = |index, name: &str| Link { index, name: name.to_owned(), ..Link::default() };
        let links = [link(2, "vpc1"), link(3, "vpc2")];
        let present = [
            held(2, "10.0.0.1/24", TAG),
            held(2, "10.0.0.2/16", 0),
            held(2, "10.0.0.9/24", TAG),
            held(3, "10.0.0.5/16", TAG),
        ];
        let ours =
            present.iter().filter(|held| held.tag == TAG).map(|held| (held.index, held.address)).collect();
        let wanted: Vec<_> = [
            ("vpc1", "10.0.0.1/24", Step::Keep),
            ("vpc1", "10.0.0.2/24", Step::Foreign),
            ("vpc1", "10.0.0.3/24", Step::Add(2)),
            // The same address in another network is another address.
            ("vpc2", "10.0.0.1/24", Step::Add(3)),
            ("vpc2", "10.0.0.5/24", Step::Add(3)),
            ("vpc3", "10.0.0.1/24", Step::Wait),
        ]
        .into_iter()
        .map(|(interface, address, step)| {
            (OwnedAddress { interface: interface.to_owned(), address: address.parse().unwrap() }, step)
        })
        .collect();
        let addresses: Vec<_> = wanted.iter().map(|(address, _)| address.clone()).collect();
        let plan = plan(&addresses, &links, &present, &ours);
        assert_eq!(plan.steps, wanted);
        assert_eq!(plan.remove, [(2, "10.0.0.9/24".parse().unwrap()), (3, "10.0.0.5/16".parse().unwrap())]);
    }
}
