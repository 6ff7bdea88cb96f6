//! Pure: a [`FilterPlan`] as the tables that `gateway_common::decide` reads, for the kernel and for the host.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    net::IpAddr,
    sync::Arc,
};

use gateway_common::{
    counters::{LARGE_LIST, MAX_LISTENERS, verdict_index},
    decide::{Slots, Tables, Verdict, decide},
    list::{Listed, NO_LIST},
    packet::{Family, Packet, halves},
    reason::Reason,
    table::{
        self, BANK_SLOTS, CHAIN_MAX, ENDPOINT_ROWS, ENTRY_DRAINING, EndpointKey, HASHED, PORT_BANK,
        PORT_GENERATION, PORT_MARKS, PORT_WORDS, PortMarks, SLOT_ECHO_ALL, SLOT_ENTRIES, SLOT_MONITOR,
        SLOT_OPEN, SLOT_SILENT, Slot, port_index, port_mark,
    },
};
use ipnet::IpNet;

use super::{
    Echo, FilterEntry, FilterListener, FilterPlan, address,
    bucket::{buckets, wide},
    large::LargeList,
    place::{Claim, Place, places},
};
use crate::base::Refusal;

/// Where an interface's packets are seen: the device that the program is attached to, and the VLAN id that its frames
/// carry there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment {
    pub ifindex: u32,
    /// 0: the interface itself, with or without tags; else a VLAN of it.
    pub vlan: u16,
}

/// The tables of one generation.
///
/// Slot numbers inside are relative to bank 0: the first slot has number 1. The methods that take a bank yield numbers
/// as they stand in the kernel tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterTables {
    generation: u32,
    slots: Vec<Slot>,
    ports: BTreeMap<u16, u32>,
    endpoints: BTreeMap<EndpointKey, u32>,
    attachments: BTreeMap<String, Attachment>,
    /// The large lists. A slot's list number is the place here, counted from 1.
    lists: Vec<Arc<LargeList>>,
}

/// The numbers of a large list in the kernel tables, 0 for a family that it does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListNumbers {
    pub v4: u32,
    pub v6: u32,
}

/// Checks that `plan` fits the tables, without knowing the interfaces.
///
/// # Errors
/// It does not; the refusal names the limit.
pub fn check(plan: &FilterPlan) -> Result<(), Refusal> {
    FilterTables::unresolved(plan).map(drop)
}

impl FilterTables {
    /// Builds the tables of `plan`. `resolve` says where an interface is attached; `None` means that it does not exist
    /// (yet), and then its listeners' addresses are only guarded against other interfaces.
    ///
    /// # Errors
    /// `resolve` refused, or the plan does not fit.
    pub fn build(
        plan: &FilterPlan,
        mut resolve: impl FnMut(&str) -> Result<Option<Attachment>, Refusal>,
    ) -> Result<Self, Refusal> {
        check_listeners(plan)?;
        let mut attachments = BTreeMap::new();
        for listener in &plan.listeners {
            if let btree_map::Entry::Vacant(entry) = attachments.entry(listener.interface.as_str()) {
                entry.insert(resolve(&listener.interface)?);
            }
        }
        let mut lists: Vec<Arc<LargeList>> = Vec::new();
        for large in plan.listeners.iter().filter_map(|listener| listener.large.as_ref()) {
            if !lists.iter().any(|list| Arc::ptr_eq(list, large)) {
                lists.push(large.clone());
            }
        }
        let mut builder = Builder::new(plan.generation.low32(), places(plan, &attachments), &lists)?;
        builder.ports()?;
        builder.addresses();
        let (slots, ports, endpoints) = builder.finish()?;
        let attachments = attachments
            .into_iter()
            .filter_map(|(name, attachment)| Some((name.to_owned(), attachment?)))
            .collect();
        Ok(Self { generation: plan.generation.low32(), slots, ports, endpoints, attachments, lists })
    }

    /// Builds the tables with made-up interface numbers, one per name. They judge what [`Self::judge`] asks by name, as
    /// the check at `accept()` does, and serve nothing else.
    ///
    /// # Errors
    /// The plan does not fit.
    pub fn unresolved(plan: &FilterPlan) -> Result<Self, Refusal> {
        let mut ifindex = 0;
        Self::build(plan, |_| {
            ifindex += 1;
            Ok(Some(Attachment { ifindex, vlan: 0 }))
        })
    }

    /// The large lists that slots refer to.
    #[must_use]
    pub fn lists(&self) -> &[Arc<LargeList>] {
        &self.lists
    }

    /// The slots for `bank`, with their numbers; `lists` says where each of [`Self::lists`] is.
    pub fn slots(&self, bank: u32, lists: &[ListNumbers]) -> impl Iterator<Item = (u32, Slot)> {
        let list = |number: u32| {
            let place = (number as usize).checked_sub(1);
            place.and_then(|place| lists.get(place)).copied().unwrap_or_default()
        };
        self.slots.iter().zip(1..).map(move |(slot, number)| {
            let (list4, list6) = (list(slot.list4).v4, list(slot.list6).v6);
            (rebase(number, bank), Slot { next: rebase(slot.next, bank), list4, list6, ..*slot })
        })
    }

    /// The port table whose slots are in `bank`, whole.
    #[must_use]
    pub fn port_table(&self, bank: u32) -> Vec<u32> {
        let mut words = vec![0; PORT_WORDS as usize];
        let header = [(PORT_GENERATION, self.generation), (PORT_BANK, bank)];
        let ports = self.ports.iter().map(|(port, word)| (port_index(*port), rebase(*word, bank)));
        for (index, value) in ports.chain(header) {
            if let Some(word) = words.get_mut(index as usize) {
                *word = value;
            }
        }
        words
    }

    /// The marks of the ports that the port table has a word for.
    #[must_use]
    pub fn port_marks(&self) -> PortMarks {
        let mut marks = [0; PORT_MARKS as usize];
        for port in self.ports.keys() {
            let (word, mark) = port_mark(port_index(*port));
            if let Some(word) = marks.get_mut(word as usize) {
                *word |= mark;
            }
        }
        marks
    }

    /// The rows of the endpoint table, with slot numbers of `bank`.
    pub fn endpoints(&self, bank: u32) -> impl Iterator<Item = (EndpointKey, u32)> {
        self.endpoints.iter().map(move |(key, number)| (*key, rebase(*number, bank)))
    }

    /// Where the interface `name` is attached, if a listener names it and it exists.
    #[must_use]
    pub fn attachment(&self, name: &str) -> Option<Attachment> {
        self.attachments.get(name).copied()
    }

    /// The interfaces that listeners name and that exist.
    pub fn attachments(&self) -> impl Iterator<Item = (&str, Attachment)> {
        self.attachments.iter().map(|(name, attachment)| (name.as_str(), *attachment))
    }

    fn list(&self, number: u32) -> Option<&LargeList> {
        self.lists.get((number as usize).checked_sub(1)?).map(|list| &**list)
    }

    /// Judges a packet that comes in on `interface`. On an interface that no listener names, only what a listener names
    /// elsewhere is refused.
    pub fn judge(&self, interface: &str, packet: &Packet) -> Verdict {
        decide(self, self.attachment(interface).map_or(0, |attachment| attachment.ifindex), packet)
    }
}

impl Slots for FilterTables {
    fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get((number as usize).checked_sub(1)?)
    }

    fn listed4(&self, list: u32, source: u32) -> Listed {
        self.list(list).map_or(NO_LIST, |list| list.listed4(source))
    }

    fn listed6(&self, list: u32, source: [u64; 2]) -> Listed {
        self.list(list).map_or(NO_LIST, |list| list.listed6(source))
    }
}

impl Tables for FilterTables {
    fn port(&self, port: u16) -> Option<u32> {
        Some(self.ports.get(&port).copied().unwrap_or(0))
    }

    fn endpoint(&self, key: &EndpointKey) -> Option<u32> {
        self.endpoints.get(key).copied()
    }

    fn generation(&self) -> u32 {
        self.generation
    }
}

/// Moves a number to `bank`; "none" and [`HASHED`] stay what they are.
const fn rebase(number: u32, bank: u32) -> u32 {
    match number {
        0 | HASHED => number,
        _ => number + bank * BANK_SLOTS,
    }
}

/// Makes slots and rows of places.
struct Builder<'p> {
    generation: u32,
    places: Vec<Place<'p>>,
    /// Each place's slot, with no successor.
    models: Vec<Slot>,
    slots: Vec<Slot>,
    /// Slot numbers by place and successor: ports whose chains end alike share their slots.
    numbers: BTreeMap<(usize, u32), u32>,
    ports: BTreeMap<u16, u32>,
    endpoints: BTreeMap<EndpointKey, u32>,
}

impl<'p> Builder<'p> {
    fn new(generation: u32, places: Vec<Place<'p>>, lists: &[Arc<LargeList>]) -> Result<Self, Refusal> {
        let models = places.iter().map(|place| model(place, lists)).collect::<Result<_, _>>()?;
        Ok(Self {
            generation,
            places,
            models,
            slots: Vec::new(),
            numbers: BTreeMap::new(),
            ports: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        })
    }

    fn ports(&mut self) -> Result<(), Refusal> {
        let mut by_port = BTreeMap::<u16, Vec<usize>>::new();
        for (index, place) in self.places.iter().enumerate() {
            for port in place.ports.iter().collect::<BTreeSet<_>>() {
                by_port.entry(*port).or_default().push(index);
            }
        }
        for (port, places) in by_port {
            self.check_conflicts(port, &places)?;
            let word = if places.len() <= CHAIN_MAX as usize && !self.needs_rows(port, &places) {
                places.iter().rev().fold(0, |next, place| self.number(*place, next))
            } else {
                for place in places {
                    self.rows(place, port);
                }
                HASHED
            };
            self.ports.insert(port, word);
        }
        Ok(())
    }

    /// Whether a place is barred at a port that is not its listener's. A chain would make it his endpoint everywhere.
    fn needs_rows(&self, port: u16, places: &[usize]) -> bool {
        let barred =
            |place: &Place<'_>| place.claim == Claim::Barred && !place.listener.ports.contains(&port);
        places.iter().filter_map(|index| self.places.get(*index)).any(barred)
    }

    /// Refuses two live listeners at one endpoint. A silent one may stand there too: its network was deleted, the address
    /// may have a new owner, and the order of places puts the live one first.
    fn check_conflicts(&self, port: u16, places: &[usize]) -> Result<(), Refusal> {
        let mut taken = BTreeMap::<_, &FilterListener>::new();
        for place in places.iter().filter_map(|index| self.places.get(*index)) {
            if place.listener.echo == Echo::Silent || place.claim == Claim::Barred {
                continue;
            }
            // By name only while the interface does not exist: two names may stand for one attachment.
            let at = place.attachment.ok_or(place.listener.interface.as_str());
            for (family, address) in place.addresses() {
                let Some(other) = taken.insert((at, family == Family::V6, address), place.listener) else {
                    continue;
                };
                return Err(Refusal::new(
                    "endpoint_taken",
                    format_args!(
                        "listeners `{}` and `{}` share an address of interface `{}` at port {port}",
                        other.name, place.listener.name, place.listener.interface,
                    ),
                )
                .field("port", port)
                .remedy("give one of them another address or another port"));
            }
        }
        Ok(())
    }

    /// The rows of the address table: what has no port is judged by the address alone.
    fn addresses(&mut self) {
        // Where listeners share an address, whoever answers everybody decides about echo, and a silent one comes last.
        let mut order = (0..self.places.len()).collect::<Vec<_>>();
        order.sort_by_key(|index| {
            self.places.get(*index).map(|place| match place.listener.echo {
                Echo::Everybody => 0,
                Echo::Allowlist => 1,
                Echo::Silent => 2,
            })
        });
        for place in order {
            self.rows(place, 0);
        }
    }

    /// The rows of a place: its own, and for an exact address the marker that it exists. The first of a key counts.
    fn rows(&mut self, index: usize, port: u16) {
        let number = self.number(index, 0);
        let Some(place) = self.places.get(index) else { return };
        for (family, address) in place.addresses() {
            let own = place.attachment.map(|attachment| (attachment.ifindex, attachment.vlan));
            let marker = (place.claim == Claim::Exact).then_some((0, 0));
            for (ifindex, vlan) in own.into_iter().chain(marker) {
                let key = EndpointKey::new(self.generation, ifindex, vlan, family, address, port);
                self.endpoints.entry(key).or_insert(number);
            }
        }
    }

    fn number(&mut self, place: usize, next: u32) -> u32 {
        if let Some(number) = self.numbers.get(&(place, next)) {
            return *number;
        }
        let Some(model) = self.models.get(place) else { return next };
        self.slots.push(Slot { next, ..*model });
        let number = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.numbers.insert((place, next), number);
        number
    }

    #[expect(clippy::type_complexity, reason = "the three tables, named where they are taken apart")]
    fn finish(self) -> Result<(Vec<Slot>, BTreeMap<u16, u32>, BTreeMap<EndpointKey, u32>), Refusal> {
        let remedy = "use fewer addresses or fewer ports per listener";
        fits("filter_slots", "endpoints", self.slots.len(), BANK_SLOTS - 1, remedy)?;
        // Both generations of a swap stand in the table at the same time.
        fits("filter_rows", "endpoint rows", self.endpoints.len(), ENDPOINT_ROWS / 2, remedy)?;
        Ok((self.slots, self.ports, self.endpoints))
    }
}

fn fits(code: &str, what: &str, count: usize, limit: u32, remedy: &str) -> Result<(), Refusal> {
    if count <= limit as usize {
        return Ok(());
    }
    Err(Refusal::new(code, format_args!("the listeners need {count} {what}, more than the filter holds"))
        .limit(limit)
        .remedy(remedy))
}

fn check_listeners(plan: &FilterPlan) -> Result<(), Refusal> {
    let mut ids = BTreeMap::new();
    for listener in &plan.listeners {
        if listener.id == 0 || u32::from(listener.id) >= MAX_LISTENERS {
            return Err(Refusal::new(
                "too_many_listeners",
                format_args!("listener `{}` has no counters left", listener.name),
            )
            .field("listener", &listener.name)
            .limit(MAX_LISTENERS - 1)
            .remedy("delete listeners that are not needed any more"));
        }
        if let Some(other) = ids.insert(listener.id, &listener.name) {
            return Err(Refusal::new(
                "counter_taken",
                format_args!("listeners `{other}` and `{}` share counter id {}", listener.name, listener.id),
            )
            .field("listener", &listener.name));
        }
        if let Some(entry) = listener.entries.iter().find(|entry| entry.id >= LARGE_LIST) {
            return Err(Refusal::new(
                "entry_counter",
                format_args!("entry {} of listener `{}` has no counter", entry.cidr, listener.name),
            )
            .field("id", entry.id)
            .limit(LARGE_LIST - 1));
        }
    }
    Ok(())
}

/// The slot of a place, with no successor.
fn model(place: &Place<'_>, lists: &[Arc<LargeList>]) -> Result<Slot, Refusal> {
    let listener = place.listener;
    let (flags, refusal) = match (place.claim, listener.echo, listener.open) {
        // Segments are refused for want of a bucket; to echo, which asks for none, it is silent.
        (Claim::Barred, ..) => (SLOT_SILENT, Reason::WrongInterface),
        (_, Echo::Silent, _) => (flags(listener), Reason::Silent),
        (_, _, false) => (flags(listener), Reason::Closed),
        (_, _, true) => (flags(listener), Reason::NotAllowed),
    };
    let mut slot = Slot {
        flags,
        place: place.attachment.map_or(0, |attachment| table::place(attachment.ifindex, attachment.vlan)),
        listener: u32::from(listener.id),
        refused: verdict_index(u32::from(listener.id), refusal),
        ..Slot::EMPTY
    };
    for (family, address) in place.addresses() {
        // The wildcard's address is 0, and so no bit of it counts.
        match (family, place.claim == Claim::Wildcard) {
            (Family::V4, true) => (slot.addr4, slot.mask4) = (0, 0),
            (Family::V6, true) => (slot.addr6, slot.mask6) = ([0; 2], 0),
            (Family::V4, false) => ([slot.addr4, ..], slot.mask4) = (address, u32::MAX),
            (Family::V6, false) => (slot.addr6, slot.mask6) = (halves(&address), u64::MAX),
        }
    }
    if place.claim == Claim::Barred {
        return Ok(slot);
    }
    for entry in ordered(&listener.entries) {
        let id = if entry.draining { entry.id | ENTRY_DRAINING } else { entry.id };
        let fit = match entry.cidr {
            IpNet::V4(net) => {
                put((&mut slot.entries4, address::entry4(net)), (&mut slot.ids4, id), &mut slot.count4)
            }
            IpNet::V6(net) => {
                put((&mut slot.entries6, address::entry6(net)), (&mut slot.ids6, id), &mut slot.count6)
            }
        };
        if !fit {
            return Err(Refusal::new(
                "too_many_entries",
                format_args!("the allowlist of listener `{}` is longer than the filter holds", listener.name),
            )
            .field("cidr", entry.cidr)
            .limit(format_args!("{SLOT_ENTRIES} entries per address family, draining ones included"))
            .remedy("remove entries, or wait until removed ones have drained"));
        }
    }
    if let Some(large) = &listener.large {
        let number = lists.iter().zip(1..).find(|(list, _)| Arc::ptr_eq(list, large)).map_or(0, |it| it.1);
        (slot.list4, slot.list6) = (large.v4().map_or(0, |_| number), large.v6().map_or(0, |_| number));
    }
    if refusal != Reason::NotAllowed {
        return Ok(slot);
    }
    if listener.options.monitor {
        // Nobody is refused by a bucket.
        (slot.buckets4, slot.buckets6) = ([u64::MAX; 4], [u64::MAX; 4]);
        return Ok(slot);
    }
    (slot.shift4, slot.buckets4) = buckets(&networks(&listener.entries, true), 32);
    (slot.shift6, slot.buckets6) = buckets(&networks(&listener.entries, false), 64);
    if let Some(large) = &listener.large {
        // The list has buckets of its own; the slot's are those of the first eight bits, for both.
        if let Some(table) = large.v4() {
            (slot.shift4, slot.buckets4) = wide(&networks(&listener.entries, true), 32, table.near);
        }
        if let Some(table) = large.v6() {
            (slot.shift6, slot.buckets6) = wide(&networks(&listener.entries, false), 64, table.near);
        }
    }
    Ok(slot)
}

/// The first 64 bits of the networks of a family, with their lengths.
fn networks(entries: &[FilterEntry], v4: bool) -> Vec<(u64, u8)> {
    let first = |network: IpAddr| match network {
        IpAddr::V4(address) => u64::from(address.to_bits()) << 32,
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    };
    let family = entries.iter().filter(|entry| entry.cidr.network().is_ipv4() == v4);
    family.map(|entry| (first(entry.cidr.network()), entry.cidr.prefix_len())).collect()
}

/// Puts an entry and its id at the end of their lists; `false` when these are full.
fn put<E>((entries, entry): (&mut [E], E), (ids, id): (&mut [u8], u8), count: &mut u32) -> bool {
    let place = *count as usize;
    let (Some(entry_place), Some(id_place)) = (entries.get_mut(place), ids.get_mut(place)) else {
        return false;
    };
    *entry_place = entry;
    *id_place = id;
    *count += 1;
    true
}

fn flags(listener: &FilterListener) -> u32 {
    let echo = match listener.echo {
        Echo::Everybody => SLOT_ECHO_ALL,
        Echo::Allowlist => 0,
        Echo::Silent => SLOT_SILENT,
    };
    let open = if listener.open { SLOT_OPEN } else { 0 };
    let monitor = if listener.options.monitor { SLOT_MONITOR } else { 0 };
    echo | open | monitor
}

/// The order in which entries are compared: allowed before draining, longest prefix first.
pub(super) fn ordered(entries: &[FilterEntry]) -> Vec<FilterEntry> {
    let mut entries = entries.to_vec();
    entries.sort_by_key(|entry| {
        (entry.draining, std::cmp::Reverse(entry.cidr.prefix_len()), entry.cidr.network())
    });
    entries
}
