//! Puts a program on a device, finds it again, swaps it in place, takes it off.
//!
//! An attachment is its pin: the file holds the link, so the filter stays on whatever becomes of this process, and
//! nothing here has to be kept open. Whether it still stands is asked of the kernel: the link is on its device, and
//! the link's program runs there.

use std::{fs, io, path::PathBuf, thread, time::Duration};

use aya::programs::{
    LinkOrder, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::{SchedClassifierLink, TcAttachOptions},
    xdp::{XdpLink, XdpMode},
};

use super::{
    bpf_link::{self, LINK_TCX, LINK_XDP},
    ethtool,
    interface::Target,
    load::{Program, chain, refuse_attach, refuse_link, refuse_tcx},
    netlink::{self, Link},
    pin::{Pins, namespace},
    tier::Tier,
};
use crate::base::Refusal;

/// A program of ours on a device.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) device: String,
    pub(crate) ifindex: u32,
    pub(crate) tier: Tier,
    /// Why it is not native, where this daemon tried that.
    pub(crate) why: Option<Refusal>,
    pin: PathBuf,
    program: u32,
    /// Whether this daemon loaded the program, over the tables that it writes.
    pub(crate) current: bool,
}

impl Attachment {
    /// Attaches `program` in its tier to the target's device, and pins it.
    ///
    /// # Errors
    /// The driver or the kernel does not take it; nothing is attached.
    pub(crate) fn create(program: &mut Program, target: &Target, pins: &Pins) -> Result<Self, Refusal> {
        let other = |why: String| {
            let text = format!("the filter's link on {} cannot be pinned: {why}", target.device);
            Refusal::new("filter_pin", text)
        };
        let pin = pins.link(&target.device).map_err(|error| other(error.to_string()))?;
        match fs::remove_file(&pin) {
            // A pin that was left by a device that is gone; what stands was adopted and is not attached anew.
            Ok(()) => tracing::info!(device = target.device, "removed a stale link"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(other(error.to_string())),
        }
        let tier = program.tier;
        let (link, id) = match tier {
            Tier::Native => attach_native(program, target)?,
            Tier::Tcx => attach_tcx(program, target)?,
        };
        link.pin(&pin).map_err(|error| other(chain(&error)))?;
        tracing::info!(
            device = target.device,
            ifindex = target.ifindex,
            program = id,
            tier = tier.name(),
            why = program.why.as_ref().map(ToString::to_string),
            "filter attached"
        );
        let attachment = Self {
            device: target.device.clone(),
            ifindex: target.ifindex,
            tier,
            why: program.why.take(),
            pin,
            program: id,
            current: true,
        };
        // TCX goes by the name: another device may have got it meanwhile.
        match bpf_link::pinned(&attachment.pin) {
            Ok(info) if info.ifindex == target.ifindex => Ok(attachment),
            Ok(_) => {
                attachment.detach();
                Err(other("the device changed meanwhile".to_owned()))
            }
            Err(error) => {
                attachment.detach();
                Err(other(error.to_string()))
            }
        }
    }

    /// Replaces the program in one step (`bpf_link_update`): no packet passes in between.
    ///
    /// # Errors
    /// The old program is still there.
    pub(crate) fn swap(&mut self, program: &mut Program) -> Result<(), Refusal> {
        let refuse = |why: String| {
            let text = format!("the filter on {} cannot be replaced: {why}", self.device);
            Refusal::new("filter_swap", text)
        };
        let error = |error| refuse(chain(&error));
        let link = PinnedLink::from_pin(&self.pin).map_err(|error| refuse_link(&self.device, &error))?;
        let link = FdLink::from(link);
        // The pin holds the link; the program does not.
        let id = match self.tier {
            Tier::Native => {
                let link = XdpLink::try_from(link).map_err(|error| refuse_link(&self.device, &error))?;
                let xdp = program.xdp().map_err(error)?;
                let id = xdp.info().map_err(error)?.id();
                let link = xdp.attach_to_link(link).map_err(error)?;
                drop(xdp.take_link(link));
                id
            }
            Tier::Tcx => {
                let link =
                    SchedClassifierLink::try_from(link).map_err(|error| refuse_link(&self.device, &error))?;
                let classifier = program.classifier().map_err(error)?;
                let id = classifier.info().map_err(error)?.id();
                let link = classifier.attach_to_link(link).map_err(error)?;
                drop(classifier.take_link(link));
                id
            }
        };
        tracing::info!(
            device = self.device,
            old = self.program,
            new = id,
            "filter program replaced in place"
        );
        self.program = id;
        self.current = true;
        Ok(())
    }

    /// Whether the program is still on its device.
    pub(crate) fn stands(&self, links: &[Link]) -> bool {
        let there = match self.tier {
            Tier::Native => {
                links.iter().any(|link| link.index == self.ifindex && link.programs.contains(&self.program))
            }
            Tier::Tcx => links.iter().any(|link| link.index == self.ifindex),
        };
        there
            && bpf_link::pinned(&self.pin)
                .is_ok_and(|link| link.ifindex == self.ifindex && link.program == self.program)
    }

    /// Whether another program runs before this one and may keep packets from it. Only TCX has an order.
    pub(crate) fn overtaken(&self) -> bool {
        self.tier == Tier::Tcx
            && bpf_link::ingress_programs(self.ifindex)
                .is_ok_and(|programs| programs.first().is_some_and(|first| *first != self.program))
    }

    /// Takes the program off, and returns when it is off.
    pub(crate) fn detach(self) {
        match fs::remove_file(&self.pin) {
            Ok(()) => {
                await_release(self.ifindex, self.program, self.tier);
                tracing::info!(device = self.device, "filter detached");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(device = self.device, %error, "filter not detached"),
        }
    }
}

fn attach_native(program: &mut Program, target: &Target) -> Result<(FdLink, u32), Refusal> {
    let driver = ethtool::driver(&target.device);
    let refuse = |error| refuse_attach(target, driver.as_deref(), &error);
    let xdp = program.xdp().map_err(refuse)?;
    let id = xdp.info().map_err(refuse)?.id();
    let link = xdp.attach_to_if_index(target.ifindex, XdpMode::Driver).map_err(refuse)?;
    let link = xdp.take_link(link).map_err(refuse)?;
    // After EINVAL aya attaches over netlink; such an attachment cannot be pinned and is dropped here.
    let link = FdLink::try_from(link).map_err(|_| {
        let text = format!("the filter cannot be attached to {} by a link", target.device);
        Refusal::new("filter_device", text).remedy("use Linux 5.9 or newer")
    })?;
    Ok((link, id))
}

/// First in the order, so that no other program decides before the filter; those behind it still run.
fn attach_tcx(program: &mut Program, target: &Target) -> Result<(FdLink, u32), Refusal> {
    let refuse = |error| refuse_tcx(target, &error);
    let classifier = program.classifier().map_err(refuse)?;
    let id = classifier.info().map_err(refuse)?.id();
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = classifier
        .attach_with_options(&target.device, TcAttachType::Ingress, first)
        .and_then(|link| classifier.take_link(link))
        .map_err(refuse)?;
    let link = FdLink::try_from(link).map_err(|error| refuse_link(&target.device, &error))?;
    Ok((link, id))
}

/// The kernel releases the link of a removed pin from a work queue, some milliseconds later. Until then the device is
/// taken, and the next attach would find a program that seems to be somebody else's.
fn await_release(ifindex: u32, program: u32, tier: Tier) {
    for _ in 0..100 {
        let there = match tier {
            Tier::Native => netlink::links().is_ok_and(|links| {
                links.iter().any(|link| link.index == ifindex && link.programs.contains(&program))
            }),
            Tier::Tcx => {
                bpf_link::ingress_programs(ifindex).is_ok_and(|programs| programs.contains(&program))
            }
        };
        if !there {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
    tracing::warn!(ifindex, program, "the program is still on its device: another process holds its link");
}

/// What earlier daemons attached in this namespace. Pins whose device is gone are removed.
///
/// # Errors
/// The pin directory cannot be read.
pub(crate) fn adopt(pins: &Pins, links: &[Link]) -> io::Result<Vec<Attachment>> {
    let here = namespace()?;
    let mut adopted = Vec::new();
    for (pin, inode, device) in pins.links()? {
        if inode != here {
            tracing::warn!(device, inode, "a link of another network namespace is left alone");
            continue;
        }
        let found = match bpf_link::pinned(&pin) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(device, %error, "a pinned link cannot be read");
                continue;
            }
        };
        let tier = match found.kind {
            LINK_XDP => Tier::Native,
            LINK_TCX => Tier::Tcx,
            kind => {
                tracing::warn!(device, kind, "a pinned link is of no kind that the filter uses");
                continue;
            }
        };
        // 0 where the device is gone, or somebody took the program off by force.
        let Some(link) = links.iter().find(|link| link.index == found.ifindex) else {
            tracing::info!(device, "the device of a pinned link is gone");
            fs::remove_file(&pin)?;
            continue;
        };
        let pin = renamed(pins, pin, &device, &link.name)?;
        adopted.push(Attachment {
            device: link.name.clone(),
            ifindex: link.index,
            tier,
            why: None,
            pin,
            program: found.program,
            current: false,
        });
    }
    Ok(adopted)
}

/// The pin follows its device's name, so that the old name is free for another device.
fn renamed(pins: &Pins, pin: PathBuf, old: &str, new: &str) -> io::Result<PathBuf> {
    if old == new {
        return Ok(pin);
    }
    let to = pins.link(new)?;
    fs::rename(&pin, &to)?;
    Ok(to)
}
