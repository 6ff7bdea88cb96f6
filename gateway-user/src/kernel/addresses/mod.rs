//! Holds the configuration's own addresses on interfaces: the private endpoints of attached networks.
//!
//! An address is added after the filter guards it and removed after the filter silenced it, because this subscriber
//! comes after the filter. It stays when the daemon ends, like the filter; the next daemon takes it over, and removes
//! what its configuration does not name any more. What somebody else added is never removed.

mod plan;
mod record;
mod silence;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    path::Path,
    sync::Arc,
};

use caps::Capability;
use nix::fcntl::{Flock, FlockArg};

use self::{
    plan::{Plan, Step, plan},
    record::{Own, Record},
};
use super::{
    capabilities,
    netlink::{self, Held, Link, Silence},
};
use crate::{
    base::{Generation, Refusal},
    observe::address::{AddressState, AddressStatus},
    snapshot::{OwnedAddress, Snapshot, Subscriber},
};

/// The addresses of this daemon.
pub struct Addresses {
    record: Record,
    generation: Generation,
    /// A snapshot was committed. Before that nothing is refused: the daemon comes up, and says what is missing.
    started: bool,
    wanted: Vec<OwnedAddress>,
    /// Why the kernel refused one, at the last try.
    failures: BTreeMap<OwnedAddress, String>,
    statuses: Vec<AddressStatus>,
    /// What was an address here and must not be spoken of.
    silent: BTreeSet<Silence>,
    /// Those of them that the kernel does not silence.
    spoken: BTreeSet<Silence>,
    staged: Option<Staged>,
}

/// What the next snapshot wants.
struct Staged {
    generation: Generation,
    wanted: Vec<OwnedAddress>,
    silent: BTreeSet<Silence>,
}

/// Interfaces, their addresses, and which of these are ours.
struct Seen {
    links: Vec<Link>,
    present: Vec<Held>,
    ours: BTreeSet<Own>,
}

// === impl Addresses ===

impl Addresses {
    /// Reads which addresses an earlier daemon of the same state directory added. Changes nothing.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn open(state: &Path) -> Result<Self, Refusal> {
        let record = Record::open(state).map_err(|error| refuse_record(&error))?;
        Ok(Self {
            record,
            generation: Generation::default(),
            started: false,
            wanted: Vec::new(),
            failures: BTreeMap::new(),
            statuses: Vec::new(),
            silent: BTreeSet::new(),
            spoken: BTreeSet::new(),
            staged: None,
        })
    }

    /// What became of each address.
    #[must_use]
    pub fn status(&self) -> Vec<AddressStatus> {
        self.statuses.clone()
    }

    /// Puts back what is missing: an interface came back, or somebody removed an address. Call it every second.
    /// Returns whether anything changed.
    pub fn refresh(&mut self) -> bool {
        if self.staged.is_some() || !self.started {
            return false;
        }
        silence::add(&self.silent, &mut self.spoken);
        if self.wanted.is_empty() && self.record.addresses().is_empty() {
            return false;
        }
        let before = self.statuses.clone();
        match self.look() {
            Ok(seen) => {
                let next = plan(&self.wanted, &seen.links, &seen.present, &seen.ours);
                if let Err(refusal) = self.carry_out(&next, seen.ours, &BTreeSet::new()) {
                    tracing::warn!(%refusal, "addresses cannot be put back");
                }
                self.report(&next);
            }
            Err(refusal) => tracing::warn!(%refusal, "addresses cannot be looked at"),
        }
        before != self.statuses
    }

    fn look(&self) -> Result<Seen, Refusal> {
        let refuse = |error: io::Error| {
            Refusal::new(
                "interfaces",
                format_args!("the addresses of the interfaces cannot be read: {error}"),
            )
        };
        let links = netlink::links().map_err(refuse)?;
        let present = netlink::addresses().map_err(refuse)?;
        let ours = plan::ours(&present, self.record.addresses(), keeps_marks());
        Ok(Seen { links, present, ours })
    }

    /// Adds and removes. Whatever of `strict` cannot be added undoes the rest; other failures are noted and tried
    /// again.
    fn carry_out(
        &mut self,
        plan: &Plan,
        mut ours: BTreeSet<Own>,
        strict: &BTreeSet<&OwnedAddress>,
    ) -> Result<(), Refusal> {
        let adds: Vec<(&OwnedAddress, Own)> = plan
            .steps
            .iter()
            .filter_map(|(address, step)| match step {
                Step::Add(index) => Some((address, (*index, address.address))),
                Step::Keep | Step::Foreign | Step::Wait => None,
            })
            .collect();
        // First the record: an address that is not in it would be somebody else's to the next daemon.
        let mut recorded = ours.clone();
        recorded.extend(adds.iter().map(|(_, own)| *own));
        self.record.write(&recorded).map_err(|error| refuse_record(&error))?;
        // A prefix that changed: IPv6 has an address once.
        for own in plan.remove.iter().filter(|(index, old)| {
            adds.iter().any(|(_, (other, new))| index == other && old.addr() == new.addr())
        }) {
            take_away(*own, &mut ours);
        }
        let mut added = Vec::new();
        for (address, own) in &adds {
            match netlink::add(own.0, own.1) {
                Ok(()) => {
                    tracing::info!(interface = address.interface, address = %address.address, "address added");
                    self.failures.remove(*address);
                    added.push(*own);
                    ours.insert(*own);
                }
                Err(error) => {
                    let refusal = refuse_add(address, &error);
                    if strict.contains(*address) {
                        for own in added {
                            take_away(own, &mut ours);
                        }
                        self.write_or_warn(&ours);
                        return Err(refusal);
                    }
                    let text = refusal.to_string();
                    if self.failures.insert((*address).clone(), text.clone()).as_ref() != Some(&text) {
                        tracing::error!(%refusal, "an address is missing; it is tried again");
                    }
                }
            }
        }
        for own in &plan.remove {
            take_away(*own, &mut ours);
        }
        self.write_or_warn(&ours);
        Ok(())
    }

    /// Makes `silent` the silenced addresses: the new ones first, in the record before in the kernel. A rule does nothing
    /// to an address that the host has.
    fn silence(&mut self, silent: BTreeSet<Silence>) {
        let stale: BTreeSet<Silence> = self.record.silences().difference(&silent).cloned().collect();
        let mut recorded: BTreeSet<Silence> = self.record.silences().union(&silent).cloned().collect();
        self.write_silences(recorded.clone());
        silence::add(&silent, &mut self.spoken);
        let stays = silence::remove(stale.iter().cloned());
        recorded.retain(|one| !stale.contains(one) || stays.contains(one));
        self.write_silences(recorded);
        self.silent = silent;
    }

    fn write_silences(&mut self, silences: BTreeSet<Silence>) {
        if let Err(error) = self.record.write_silences(silences) {
            tracing::warn!(%error, "the record of silenced addresses is not what it should be");
        }
    }

    fn write_or_warn(&mut self, ours: &BTreeSet<Own>) {
        if let Err(error) = self.record.write(ours) {
            tracing::warn!(%error, "the record of the gateway's addresses names too many");
        }
    }

    fn report(&mut self, plan: &Plan) {
        let failures = &self.failures;
        let next = plan.steps.iter().map(|(address, step)| {
            let failure = failures.get(address);
            let (state, detail) = match step {
                Step::Keep => (AddressState::Held, None),
                Step::Add(_) if failure.is_none() => (AddressState::Held, None),
                Step::Add(_) => (AddressState::Failed, failure.cloned()),
                Step::Foreign => (
                    AddressState::Foreign,
                    Some("somebody else configured it; it is never removed".to_owned()),
                ),
                Step::Wait => (AddressState::Waiting, Some("there is no such interface now".to_owned())),
            };
            AddressStatus {
                interface: address.interface.clone(),
                address: address.address.to_string(),
                state,
                detail,
            }
        });
        self.statuses = next.collect();
    }
}

// === impl Subscriber ===

impl Subscriber for Addresses {
    fn name(&self) -> &'static str {
        "addresses"
    }

    fn stage(&mut self, next: &Arc<Snapshot>) -> Result<(), Refusal> {
        self.abandon();
        if self.started && !next.addresses.is_empty() {
            let seen = self.look()?;
            let steps = plan(&next.addresses, &seen.links, &seen.present, &seen.ours).steps;
            for (address, step) in steps.iter().filter(|(address, _)| !self.wanted.contains(address)) {
                match step {
                    Step::Foreign => return Err(refuse_foreign(address)),
                    Step::Add(_) if !may_change() => return Err(refuse_permission(address)),
                    Step::Add(_) | Step::Keep | Step::Wait => {}
                }
            }
        }
        self.staged = Some(Staged {
            generation: next.generation,
            wanted: next.addresses.clone(),
            silent: silence::of(&next.filter),
        });
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Refusal> {
        let Some(Staged { generation, wanted, silent }) = self.staged.take() else { return Ok(()) };
        // Before the addresses go: the host is to have no moment in which it says that they are gone.
        self.silence(silent);
        if !wanted.is_empty() || !self.record.addresses().is_empty() {
            let seen = self.look()?;
            let next = plan(&wanted, &seen.links, &seen.present, &seen.ours);
            let strict: BTreeSet<&OwnedAddress> =
                wanted.iter().filter(|address| self.started && !self.wanted.contains(address)).collect();
            self.failures.retain(|address, _| wanted.contains(address));
            self.carry_out(&next, seen.ours, &strict)?;
            self.report(&next);
        } else {
            self.statuses.clear();
        }
        self.started = true;
        self.wanted = wanted;
        self.generation = generation;
        Ok(())
    }

    fn abandon(&mut self) {
        self.staged = None;
    }

    fn generation(&self) -> Generation {
        self.generation
    }
}

/// Removes the addresses that the daemon of `state` left, without a daemon. With an `interface`, only those on it.
///
/// # Errors
/// A daemon runs, or an address cannot be removed.
pub fn release(state: &Path, interface: Option<&str>) -> Result<Vec<String>, Refusal> {
    let mut addresses = Addresses::open(state)?;
    if addresses.record.addresses().is_empty() && addresses.record.silences().is_empty() {
        return Ok(Vec::new());
    }
    let _lock = not_running(state)?;
    let (gone, kept): (BTreeSet<Silence>, BTreeSet<Silence>) = addresses
        .record
        .silences()
        .iter()
        .cloned()
        .partition(|silence| interface.is_none_or(|interface| interface == silence.interface));
    let stays = silence::remove(gone);
    addresses.write_silences(kept.union(&stays).cloned().collect());
    let seen = addresses.look()?;
    let mut ours = seen.ours;
    let mut removed = Vec::new();
    for own in ours.clone() {
        let name = seen.links.iter().find(|link| link.index == own.0).map_or("", |link| link.name.as_str());
        if interface.is_none_or(|interface| interface == name) {
            let address = OwnedAddress { interface: name.to_owned(), address: own.1 };
            if !take_away(own, &mut ours) {
                return Err(refuse_permission(&address));
            }
            removed.push(format!("{} on {name}", own.1));
        }
    }
    addresses.record.write(&ours).map_err(|error| refuse_record(&error))?;
    Ok(removed)
}

/// The lock that a daemon holds on its state directory.
fn not_running(state: &Path) -> Result<Option<Flock<File>>, Refusal> {
    let Ok(file) = File::open(state.join("lock")) else { return Ok(None) };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map(Some).map_err(|_| {
        Refusal::new("state_in_use", "a daemon of this state directory runs and would put its addresses back")
            .field("state", state.display())
            .remedy("stop it first")
    })
}

/// Removes one of ours; whether it is gone.
fn take_away(own: Own, ours: &mut BTreeSet<Own>) -> bool {
    match netlink::remove(own.0, own.1) {
        Ok(()) => tracing::info!(ifindex = own.0, address = %own.1, "address removed"),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => {}
        Err(error) => {
            tracing::warn!(ifindex = own.0, address = %own.1, %error, "an address was not removed; it is tried again");
            return false;
        }
    }
    ours.remove(&own);
    true
}

/// Whether the kernel remembers who added an address.
fn keeps_marks() -> bool {
    capabilities::version() >= (5, 18)
}

fn may_change() -> bool {
    capabilities::has(Capability::CAP_NET_ADMIN)
}

// === refusals ===

fn refuse_record(error: &io::Error) -> Refusal {
    Refusal::new(
        "addresses_record",
        format_args!("the record of the gateway's addresses cannot be kept: {error}"),
    )
    .remedy("make the state directory readable and writable for the gateway's user, with space on its disk")
}

fn refuse_foreign(address: &OwnedAddress) -> Refusal {
    let OwnedAddress { interface, address } = address;
    Refusal::new(
        "address_taken",
        format_args!("{interface} already has the address {}, and the gateway did not add it", address.addr()),
    )
    .field("address", address)
    .remedy(format_args!(
        "choose a free address, or remove it first (`ip addr del {address} dev {interface}`): the gateway adds it itself"
    ))
}

fn refuse_permission(address: &OwnedAddress) -> Refusal {
    let OwnedAddress { interface, address } = address;
    Refusal::new("permission_denied", format_args!("the address {address} of {interface} cannot be changed"))
        .field("address", address)
        .remedy("run as root or with CAP_NET_ADMIN")
}

fn refuse_add(address: &OwnedAddress, error: &io::Error) -> Refusal {
    let interface = &address.interface;
    let refusal = || {
        let text = format_args!("the address {} cannot be added to {interface}: {error}", address.address);
        Refusal::new("address_refused", text).field("address", address.address)
    };
    match error.raw_os_error() {
        Some(libc::EPERM) => refuse_permission(address),
        Some(libc::EEXIST) => refuse_foreign(address),
        Some(libc::EACCES) => refusal()
            .remedy(format_args!("switch IPv6 on there: `sysctl net.ipv6.conf.{interface}.disable_ipv6=0`")),
        Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => {
            refusal().remedy("this kernel runs without IPv6: use an IPv4 address")
        }
        _ => refusal().remedy(format_args!("`ip addr add {} dev {interface}` shows it too", address.address)),
    }
}
