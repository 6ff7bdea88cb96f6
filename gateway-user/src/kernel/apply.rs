//! One change of the policy in the kernel: staged aside, committed with one update, or abandoned.
//!
//! Order, and why: interfaces are resolved and programs loaded first, because that is what fails; then the tables are
//! written into the bank that is not live; then missing interfaces are attached, over the policy that is live (they
//! judge nothing for listeners that it does not have). Commit publishes the port table, and only then replaces the
//! programs of an earlier daemon: whichever tables those use, the new program finds the new policy complete.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Config,
    attach::{self, Attachment},
    capabilities,
    counters::Fresh,
    interface::Target,
    load::{Program, refuse_foreign, refuse_map, refuse_native},
    netlink::{self, Link},
    object::Object,
    pin::Pins,
    standing::{self, Standings},
    tables::Tables,
    tier::{Tier, may_fall_back},
};
use crate::{base::Refusal, observe::filter::InterfaceStatus, snapshot::FilterPlan};

/// The kernel's side of the filter: the lock, the tables, the programs on devices.
pub(crate) struct Kernel {
    pub(crate) object: Option<Object>,
    pub(crate) pins: Pins,
    /// Opened by the first change.
    pub(crate) tables: Option<Tables>,
    pub(crate) attachments: Vec<Attachment>,
    /// Where the live policy's interfaces were found.
    placed: Vec<Placed>,
}

/// A change that was prepared.
pub(crate) struct Staged {
    pub(crate) plan: Arc<FilterPlan>,
    /// The number in the kernel tables.
    pub(crate) number: u32,
    pub(crate) interfaces: Vec<InterfaceStatus>,
    /// Where nothing may be bound, and why.
    pub(crate) barred: BTreeMap<String, Refusal>,
    /// Devices that this change attached.
    fresh: BTreeSet<u32>,
    /// Devices that the plan needs.
    needed: BTreeSet<u32>,
    /// Loaded programs that take the place of an earlier daemon's.
    swaps: BTreeMap<u32, Program>,
    /// Counters that change hands.
    taken: Fresh,
    placed: Vec<Placed>,
}

/// An interface as it was when a policy was staged.
#[derive(Clone, Debug)]
struct Placed {
    interface: String,
    /// Device and VLAN.
    at: Option<(u32, u16)>,
    /// Its device should carry the program.
    wanted: bool,
    /// It was gone at the last look, or its program was.
    lost: bool,
}

impl Staged {
    /// A change that the kernel has no part in: `why` says so for each interface.
    ///
    /// # Errors
    /// A new listener names an interface that does not exist.
    pub(crate) fn without_kernel(
        plan: &Arc<FilterPlan>,
        before: Option<&FilterPlan>,
        links: &[Link],
        why: Option<&Refusal>,
    ) -> Result<Self, Refusal> {
        let interfaces = standing::interfaces(plan)
            .into_iter()
            .map(|interface| standing::unfiltered(interface, plan, before, links, why))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            plan: plan.clone(),
            number: plan.generation.low32(),
            interfaces,
            barred: BTreeMap::new(),
            fresh: BTreeSet::new(),
            needed: BTreeSet::new(),
            swaps: BTreeMap::new(),
            taken: Fresh::default(),
            placed: Vec::new(),
        })
    }
}

impl Kernel {
    /// Locks the pin directory and adopts what is attached.
    ///
    /// # Errors
    /// No object, no BPF file system, or another daemon.
    pub(crate) fn open(config: &Config) -> Result<Self, Refusal> {
        let object = Object::open(config.object.as_deref())?;
        // Who may not load programs may seldom make pins, and then the pins are not what is missing.
        let needs = |refusal: Refusal| match capabilities::missing() {
            Some(missing) if refusal.code == "pin_dir" => missing,
            _ => refusal,
        };
        Self::with(Pins::open(&config.pin_dir).map_err(needs)?, Some(object))
    }

    /// The same for a daemon that only wants to take away what is there.
    ///
    /// # Errors
    /// As [`Kernel::open`].
    pub(crate) fn open_existing(config: &Config) -> Result<Option<Self>, Refusal> {
        Pins::open_existing(&config.pin_dir)?.map(|pins| Self::with(pins, None)).transpose()
    }

    fn with(pins: Pins, object: Option<Object>) -> Result<Self, Refusal> {
        let refuse = |error| {
            Refusal::new("filter_adopt", format_args!("what an earlier run attached cannot be read: {error}"))
                .field("pin_dir", pins.directory().display())
        };
        let links = netlink::links().map_err(refuse)?;
        let attachments = attach::adopt(&pins, &links).map_err(refuse)?;
        for attachment in &attachments {
            tracing::info!(device = attachment.device, ifindex = attachment.ifindex, "filter found attached");
        }
        Ok(Self { object, pins, tables: None, attachments, placed: Vec::new() })
    }

    /// Prepares `plan`. `before` is the plan in force, `None` at start. Not `required`: what cannot be guarded is left
    /// to the check at accept, and said in the staged statuses.
    ///
    /// # Errors
    /// The plan cannot be enforced; nothing changed.
    pub(crate) fn stage(
        &mut self,
        plan: &Arc<FilterPlan>,
        before: Option<&FilterPlan>,
        links: &[Link],
        required: bool,
    ) -> Result<Staged, Refusal> {
        let mut standings = Standings::resolve(plan, before, links, required)?;
        self.open_tables()?;
        self.drop_lost(links);
        let mut programs = self.load(&mut standings)?;
        let (unused, taken) = before.map(|before| Fresh::of(before, plan)).unwrap_or_default();
        let number = self.write(plan, &standings, &unused)?;
        let mut staged = Staged {
            plan: plan.clone(),
            number,
            interfaces: Vec::new(),
            barred: BTreeMap::new(),
            fresh: BTreeSet::new(),
            needed: BTreeSet::new(),
            swaps: BTreeMap::new(),
            taken,
            placed: Vec::new(),
        };
        if let Err(refusal) = self.attach(&mut programs, &mut standings, &mut staged.fresh) {
            self.abandon(&staged);
            return Err(refusal);
        }
        for (interface, standing) in &standings.all {
            // What an earlier daemon left on a device that cannot be guarded anew is better than nothing.
            staged.needed.extend(standing.place().filter(|_| standing.wanted()).map(|(ifindex, _)| ifindex));
            if required && let Some(refusal) = standing.bar(interface) {
                staged.barred.insert(interface.clone(), refusal);
            }
            let attachment = standing
                .guarded()
                .and_then(|target| self.attachments.iter().find(|it| it.ifindex == target.ifindex));
            staged.interfaces.push(standing.status(interface, plan.generation, attachment));
            staged.placed.push(Placed {
                interface: interface.clone(),
                at: standing.place(),
                wanted: standing.wanted(),
                lost: false,
            });
        }
        staged.swaps = programs;
        Ok(staged)
    }

    /// Forgets attachments whose device or link is gone, so that they are made anew.
    fn drop_lost(&mut self, links: &[Link]) {
        let (standing, lost): (Vec<_>, Vec<_>) =
            self.attachments.drain(..).partition(|attachment| attachment.stands(links));
        self.attachments = standing;
        for attachment in lost {
            tracing::warn!(
                device = attachment.device,
                ifindex = attachment.ifindex,
                "the filter's attachment is gone"
            );
            attachment.detach();
        }
    }

    /// Lets go of tables that somebody took pins from; new ones are made, and programs over these take the place of
    /// those that are attached. Returns whether that is so.
    pub(crate) fn drop_unpinned(&mut self) -> bool {
        if self.tables.as_ref().is_none_or(Tables::pinned) {
            return false;
        }
        tracing::error!("pins of the filter's tables are gone; the tables are made anew, and count from 0");
        self.tables = None;
        for attachment in &mut self.attachments {
            attachment.current = false;
        }
        true
    }

    /// Opens the tables, if they are not open.
    ///
    /// # Errors
    /// The kernel refuses to make them: nothing of the filter can work.
    pub(crate) fn open_tables(&mut self) -> Result<(), Refusal> {
        if let (None, Some(object)) = (&self.tables, &self.object) {
            self.tables = Some(Tables::open(object, &self.pins)?);
        }
        Ok(())
    }

    /// Loads a program for every device that has none of this daemon's.
    fn load(&mut self, standings: &mut Standings<'_>) -> Result<BTreeMap<u32, Program>, Refusal> {
        let object =
            self.object.as_ref().ok_or_else(|| Refusal::new("filter_object", "no object was opened"))?;
        let mut programs = BTreeMap::new();
        standings.try_each(|target| {
            let attached = self.attachments.iter().find(|attachment| attachment.ifindex == target.ifindex);
            if attached.is_some_and(|attachment| attachment.current) || programs.contains_key(&target.ifindex)
            {
                return Ok(());
            }
            if let Some(foreign) = target.programs.first().filter(|_| attached.is_none()) {
                return Err(refuse_foreign(target, *foreign));
            }
            let native = match attached.map(|attachment| attachment.tier) {
                Some(Tier::Native) => None,
                Some(Tier::Tcx) => Some(None),
                None => refuse_native(target).map(Some),
            };
            let program = match native {
                Some(why) => Program::tcx(object, &self.pins, target, why)?,
                None => match Program::native(object, &self.pins, target) {
                    Err(refusal) if attached.is_none() && may_fall_back(&refusal.code) => {
                        Program::tcx(object, &self.pins, target, Some(refusal))?
                    }
                    loaded => loaded?,
                },
            };
            programs.insert(target.ifindex, program);
            Ok(())
        })?;
        Ok(programs)
    }

    /// Writes the tables of `plan` aside; returns their number.
    fn write(
        &mut self,
        plan: &FilterPlan,
        standings: &Standings<'_>,
        unused: &Fresh,
    ) -> Result<u32, Refusal> {
        let tables =
            self.tables.as_mut().ok_or_else(|| Refusal::new("filter_tables", "the tables are not open"))?;
        let live = tables.live();
        let low32 = plan.generation.low32();
        let number = if low32 == live.number { low32 ^ (1 << 31) } else { low32 };
        let written = standing::tables(plan, &standings.all, number)
            .and_then(|next| tables.stage(&next, 1 - live.bank))
            .and_then(|()| unused.zero(tables).map_err(|error| refuse_map("written", &error)));
        if written.is_err() {
            forget(tables);
        }
        written.map(|()| number)
    }

    /// Attaches the loaded programs whose devices have none; what remains in `programs` replaces older ones at commit.
    fn attach(
        &mut self,
        programs: &mut BTreeMap<u32, Program>,
        standings: &mut Standings<'_>,
        fresh: &mut BTreeSet<u32>,
    ) -> Result<(), Refusal> {
        let mut failed: BTreeMap<u32, Refusal> = BTreeMap::new();
        standings.try_each(|target| {
            if self.attachments.iter().any(|attachment| attachment.ifindex == target.ifindex) {
                return Ok(());
            }
            // Another interface on the same device fails alike.
            let Some(mut program) = programs.remove(&target.ifindex) else {
                return failed.get(&target.ifindex).cloned().map_or(Ok(()), Err);
            };
            let created = match Attachment::create(&mut program, target, &self.pins) {
                Err(refusal) if program.tier == Tier::Native && may_fall_back(&refusal.code) => {
                    second(self.object.as_ref(), &self.pins, target, refusal)
                }
                created => created,
            };
            match created {
                Ok(attachment) => {
                    fresh.insert(target.ifindex);
                    self.attachments.push(attachment);
                    Ok(())
                }
                Err(refusal) => {
                    failed.insert(target.ifindex, refusal.clone());
                    Err(refusal)
                }
            }
        })
    }

    /// Makes a staged change live.
    ///
    /// # Errors
    /// The tables could not be published (nothing changed), or a program of another layout could not be replaced.
    pub(crate) fn commit(&mut self, staged: &mut Staged) -> Result<(), Refusal> {
        let Some(tables) = &mut self.tables else { return Ok(()) };
        if let Err(refusal) = tables.publish() {
            self.abandon(staged);
            return Err(refusal);
        }
        // Beside the generation, not of it: a budget that changes a moment later than the list admits nobody else.
        if let Err(error) = tables.guard.follow(&staged.plan) {
            tracing::error!(%error, "budgets of new connections were not set");
        }
        if let Err(error) = staged.taken.zero(tables) {
            tracing::warn!(%error, "counters that changed hands were not set to 0");
        }
        let mut failed = None;
        for attachment in &mut self.attachments {
            let Some(mut program) = staged.swaps.remove(&attachment.ifindex) else { continue };
            match attachment.swap(&mut program) {
                Ok(()) => {}
                // The old program judges by the same tables: the policy is live, and the next change tries again.
                Err(refusal) if tables.adopted => tracing::warn!(%refusal, "an earlier filter program stays"),
                Err(refusal) => failed = Some(refusal),
            }
        }
        let (needed, unneeded): (Vec<_>, Vec<_>) =
            self.attachments.drain(..).partition(|attachment| staged.needed.contains(&attachment.ifindex));
        self.attachments = needed;
        for attachment in unneeded {
            attachment.detach();
        }
        if let Err(error) = tables.sweep() {
            tracing::warn!(%error, "rows of the previous generation remain");
        }
        self.placed = std::mem::take(&mut staged.placed);
        if let Some(refusal) = failed {
            return Err(refusal);
        }
        let layout = self.object.as_ref().map(|object| object.layout.as_str());
        if let Err(error) = self.pins.remove_maps(layout) {
            tracing::warn!(%error, "tables of another layout remain pinned");
        }
        Ok(())
    }

    /// Undoes what was staged.
    pub(crate) fn abandon(&mut self, staged: &Staged) {
        let (fresh, kept): (Vec<_>, Vec<_>) =
            self.attachments.drain(..).partition(|attachment| staged.fresh.contains(&attachment.ifindex));
        self.attachments = kept;
        for attachment in fresh {
            attachment.detach();
        }
        if let Some(tables) = &mut self.tables {
            forget(tables);
        }
    }

    /// Takes everything off: the settings say `filter = "off"`.
    pub(crate) fn clear(&mut self) {
        for attachment in self.attachments.drain(..) {
            attachment.detach();
        }
        self.tables = None;
        if let Err(error) = self.pins.remove_maps(None) {
            tracing::warn!(%error, "the filter's tables remain pinned");
        }
    }

    /// Which devices have a program of somebody else in front of the filter, a sentence each.
    pub(crate) fn overtaken(&self) -> impl Iterator<Item = String> {
        self.attachments.iter().filter(|attachment| attachment.overtaken()).map(|attachment| {
            format!(
                "{device}: another program runs before the filter and may keep packets from it; \
                 `bpftool net show dev {device}` names it",
                device = attachment.device
            )
        })
    }

    /// How the interfaces differ from what the live policy was built for: those that are not guarded any more, and
    /// whether there is something to do about it.
    pub(crate) fn drift(&mut self, links: &[Link]) -> (Vec<String>, bool) {
        let mut lost = Vec::new();
        let mut moved = false;
        for placed in &mut self.placed {
            let now = standing::place_of(&placed.interface, links);
            let stands = placed.at.is_some_and(|(ifindex, _)| {
                self.attachments
                    .iter()
                    .any(|attachment| attachment.ifindex == ifindex && attachment.stands(links))
            });
            let gone = placed.wanted && !(stands && now == placed.at);
            if gone {
                lost.push(placed.interface.clone());
            }
            // One that only had another name for a while is back with everything in place, and still to be said.
            let back = placed.lost && !gone;
            placed.lost = gone;
            moved |= now.is_some() && (now != placed.at || placed.wanted && !stands || back);
        }
        moved |= self.tables.as_ref().is_some_and(|tables| !tables.pinned());
        (lost, moved)
    }
}

/// Attaches in the second tier what the first refused.
fn second(
    object: Option<&Object>,
    pins: &Pins,
    target: &Target,
    native: Refusal,
) -> Result<Attachment, Refusal> {
    let Some(object) = object else { return Err(native) };
    let attached = Program::tcx(object, pins, target, Some(native.clone()))
        .and_then(|mut program| Attachment::create(&mut program, target, pins));
    attached.map_err(|refusal| {
        tracing::warn!(%refusal, "the second tier is refused too");
        native
    })
}

fn forget(tables: &mut Tables) {
    if let Err(error) = tables.abandon() {
        tracing::warn!(%error, "rows of an abandoned generation remain until the next change");
    }
}
