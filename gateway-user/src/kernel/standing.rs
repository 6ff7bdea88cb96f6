//! Which interfaces of a plan can be guarded in the kernel, and the tables for those.

use std::collections::BTreeSet;

use super::{
    attach::Attachment,
    ethtool,
    interface::{Target, resolve},
    netlink::Link,
    tier::Tier,
};
use crate::{
    base::{Generation, Refusal},
    observe::filter::{InterfaceStatus, Mode},
    snapshot::{
        FilterPlan,
        filter::{Attachment as Place, FilterTables},
    },
};

/// What became of one interface of a plan.
pub(crate) enum Standing {
    /// Its device carries the program, or will.
    Guarded(Target),
    /// In the mode `auto`: the check at accept alone, and why.
    Unguarded(Option<Target>, Refusal),
    /// The filter is required, and the interface, which the policy knew before or has from the store, cannot be
    /// guarded. Refusing edits for that would also refuse revocations elsewhere, and refusing the start would close
    /// every other listener; the filter is put on as soon as it can be, and until then nothing new is bound there.
    Lost(Option<Target>, Refusal),
    /// It is not there now; it is guarded when it comes back.
    Absent,
}

impl Standing {
    /// The target of a guarded interface.
    pub(crate) fn guarded(&self) -> Option<&Target> {
        match self {
            Self::Guarded(target) => Some(target),
            Self::Unguarded(..) | Self::Lost(..) | Self::Absent => None,
        }
    }

    /// Whether its device should carry the program whenever it is there.
    pub(crate) fn wanted(&self) -> bool {
        matches!(self, Self::Guarded(_) | Self::Lost(..))
    }

    /// Whether a program on the device sees frames of this interface as the tables describe them.
    fn can_be_told(&self) -> bool {
        match self {
            Self::Guarded(_) | Self::Absent => true,
            Self::Unguarded(target, _) | Self::Lost(target, _) => {
                target.as_ref().is_some_and(|target| target.vlan == 0)
            }
        }
    }

    /// Device and VLAN.
    pub(crate) fn place(&self) -> Option<(u32, u16)> {
        match self {
            Self::Guarded(target) | Self::Unguarded(Some(target), _) | Self::Lost(Some(target), _) => {
                Some((target.ifindex, target.vlan))
            }
            Self::Unguarded(None, _) | Self::Lost(None, _) | Self::Absent => None,
        }
    }

    /// Names where an interface is that is not guarded.
    fn at(self, target: Option<Target>) -> Self {
        match self {
            Self::Unguarded(_, refusal) => Self::Unguarded(target, refusal),
            Self::Lost(_, refusal) => Self::Lost(target, refusal),
            Self::Guarded(_) | Self::Absent => self,
        }
    }

    /// Goes on without the program on this interface.
    fn give_up(&mut self, refusal: Refusal, demand: Demand) {
        let target = self.guarded().cloned();
        *self = match demand {
            Demand::Hope => {
                tracing::warn!(%refusal, "connections of this interface are checked at accept only");
                Self::Unguarded(target, refusal)
            }
            Demand::Keep | Demand::Insist => {
                tracing::error!(%refusal, "the filter is not on this interface");
                Self::Lost(target, refusal)
            }
        };
    }

    /// Why nothing may be bound on the interface named `interface`, if nothing may.
    pub(crate) fn bar(&self, interface: &str) -> Option<Refusal> {
        match self {
            Self::Guarded(_) | Self::Unguarded(..) => None,
            Self::Lost(_, refusal) => Some(refusal.clone()),
            Self::Absent => Some(
                Refusal::new(
                    "filter_attach",
                    format_args!("{interface} just came; the filter is not on it yet"),
                )
                .field("interface", interface)
                .remedy("it is put on within a second"),
            ),
        }
    }

    /// What status says of the interface named `interface`.
    pub(crate) fn status(
        &self,
        interface: &str,
        generation: Generation,
        attachment: Option<&Attachment>,
    ) -> InterfaceStatus {
        let (target, mode, detail) = match self {
            Self::Guarded(target) => {
                let mode = match attachment.map(|attachment| attachment.tier) {
                    Some(Tier::Tcx) => Mode::Tcx,
                    Some(Tier::Native) | None => Mode::Native,
                };
                let why = attachment.and_then(|attachment| attachment.why.as_ref());
                (Some(target), mode, why.map(|refusal| refusal.message.clone()))
            }
            Self::Unguarded(target, refusal) => (target.as_ref(), Mode::Accept, Some(refusal.to_string())),
            Self::Lost(target, refusal) => (target.as_ref(), Mode::Detached, Some(refusal.to_string())),
            Self::Absent => (None, Mode::Detached, Some("there is no such interface now".to_owned())),
        };
        InterfaceStatus {
            interface: interface.to_owned(),
            device: target.map_or_else(|| interface.to_owned(), |target| target.device.clone()),
            ifindex: target.map_or(0, |target| target.ifindex),
            vlan: target.map_or(0, |target| target.vlan),
            mode,
            generation,
            detail,
        }
    }
}

/// The interfaces that a plan's listeners name, each once.
pub(crate) fn interfaces(plan: &FilterPlan) -> BTreeSet<&str> {
    plan.listeners.iter().map(|listener| listener.interface.as_str()).collect()
}

/// What follows when an interface cannot be guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    /// The mode `auto`: the check at accept is enough.
    Hope,
    /// Required, and the interface was part of the policy before, or the daemon starts: the policy goes on without it.
    Keep,
    /// Required, and an edit names it first: the edit is refused.
    Insist,
}

/// The interfaces of a plan that is staged, and what is demanded of them.
pub(crate) struct Standings<'a> {
    before: Option<&'a FilterPlan>,
    required: bool,
    pub(crate) all: Vec<(String, Standing)>,
}

impl<'a> Standings<'a> {
    /// Resolves every interface of `plan`. `before` is the plan in force, `None` at start.
    ///
    /// # Errors
    /// A new listener names an interface that does not exist; or, if the filter is `required`, one cannot be guarded.
    pub(crate) fn resolve(
        plan: &FilterPlan,
        before: Option<&'a FilterPlan>,
        links: &[Link],
        required: bool,
    ) -> Result<Self, Refusal> {
        let mut standings = Self { before, required, all: Vec::new() };
        for interface in interfaces(plan) {
            let standing =
                match resolve(interface, links).and_then(|target| target.map(guardable).transpose()) {
                    Ok(Some(target)) => Standing::Guarded(target),
                    Ok(None) => {
                        may_be_absent(interface, before, links)?;
                        Standing::Absent
                    }
                    Err(refusal) if standings.demand(interface) == Demand::Insist => return Err(refusal),
                    Err(refusal) => {
                        let mut standing = Standing::Absent;
                        standing.give_up(refusal, standings.demand(interface));
                        standing.at(resolve(interface, links).ok().flatten())
                    }
                };
            standings.all.push((interface.to_owned(), standing));
        }
        Ok(standings)
    }

    fn demand(&self, interface: &str) -> Demand {
        match self.before {
            _ if !self.required => Demand::Hope,
            Some(before) if !interfaces(before).contains(interface) => Demand::Insist,
            _ => Demand::Keep,
        }
    }

    /// Goes over the interfaces that can be guarded; where `work` fails, the demand decides what follows.
    ///
    /// # Errors
    /// The filter is required on an interface that is new.
    pub(crate) fn try_each(
        &mut self,
        mut work: impl FnMut(&Target) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let demands: Vec<Demand> = self.all.iter().map(|(interface, _)| self.demand(interface)).collect();
        for ((_, standing), demand) in self.all.iter_mut().zip(demands) {
            let Some(target) = standing.guarded() else { continue };
            match work(target) {
                Ok(()) => {}
                Err(refusal) if demand == Demand::Insist => return Err(refusal),
                Err(refusal) => standing.give_up(refusal, demand),
            }
        }
        Ok(())
    }
}

/// Whether a native program on the target's device would see the tags that the tables speak of.
fn guardable(target: Target) -> Result<Target, Refusal> {
    if target.vlan != 0 {
        let devices = target.hardware.iter().chain([&target.device]);
        if let Some(device) = devices.into_iter().find(|device| ethtool::strips_vlan(device) == Some(true)) {
            return Err(Refusal::new(
                "vlan_stripped",
                format_args!("{device} takes VLAN tags off before the filter sees them"),
            )
            .field("interface", &target.interface)
            .remedy(format_args!("`ethtool -K {device} rxvlan off`, or set filter = \"auto\"")));
        }
    }
    Ok(target)
}

/// An interface that was there may go and come back, and at start nothing is refused for it; a new name is a mistake.
fn may_be_absent(interface: &str, before: Option<&FilterPlan>, links: &[Link]) -> Result<(), Refusal> {
    let known = before.is_none_or(|before| interfaces(before).contains(interface));
    if known {
        return Ok(());
    }
    let there: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    Err(Refusal::new("interface_not_found", format_args!("there is no network interface {interface}"))
        .field("interface", interface)
        .remedy(format_args!("name one of: {}", there.join(", "))))
}

/// The status of an interface that has no part in a kernel filter.
///
/// # Errors
/// A new listener names an interface that does not exist.
pub(crate) fn unfiltered(
    interface: &str,
    plan: &FilterPlan,
    before: Option<&FilterPlan>,
    links: &[Link],
    why: Option<&Refusal>,
) -> Result<InterfaceStatus, Refusal> {
    let target = resolve(interface, links).unwrap_or_default();
    if target.is_none() && links.iter().all(|link| link.name != interface) {
        may_be_absent(interface, before, links)?;
    }
    let off = Refusal::new("filter_off", "the settings say filter = \"off\"");
    let standing = Standing::Unguarded(target, why.cloned().unwrap_or(off));
    let status = standing.status(interface, plan.generation, None);
    Ok(match why {
        Some(_) => status,
        None => InterfaceStatus { mode: Mode::Off, detail: None, ..status },
    })
}

/// Device and VLAN of an interface, as far as it has one now.
pub(crate) fn place_of(interface: &str, links: &[Link]) -> Option<(u32, u16)> {
    let target = resolve(interface, links).ok().flatten()?;
    Some((target.ifindex, target.vlan))
}

/// The tables of `plan` under `number`, over the interfaces that are guarded.
///
/// A listener whose interface is not guarded still guards its address against arriving elsewhere. Only where its
/// frames cross a guarded device in a form that the tables cannot tell, it has no part in them.
///
/// # Errors
/// They cannot hold it.
pub(crate) fn tables(
    plan: &FilterPlan,
    standings: &[(String, Standing)],
    number: u32,
) -> Result<FilterTables, Refusal> {
    let standing =
        |interface: &str| standings.iter().find(|(name, _)| name == interface).map(|(_, found)| found);
    let plan = FilterPlan {
        generation: Generation(number.into()),
        listeners: plan
            .listeners
            .iter()
            .filter(|listener| standing(&listener.interface).is_none_or(Standing::can_be_told))
            .cloned()
            .collect(),
    };
    FilterTables::build(&plan, |interface| {
        let target = standing(interface).and_then(Standing::guarded);
        Ok(target.map(|target| Place { ifindex: target.ifindex, vlan: target.vlan }))
    })
}
