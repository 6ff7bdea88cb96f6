//! Puts a program on a device, finds it again, swaps it in place, takes it off.
//!
//! An attachment is its pin: the file holds the link, so the filter stays on whatever becomes of this process, and
//! nothing here has to be kept open. Whether it still stands is asked of the interface: the link's program is on it.

use std::{fs, io, path::PathBuf, thread, time::Duration};

use aya::programs::{
    links::{FdLink, PinnedLink},
    xdp::{XdpLink, XdpMode},
};

use super::{
    ethtool,
    interface::Target,
    load::{Program, chain, refuse_attach, refuse_link},
    netlink::{self, Link},
    pin::{Pins, namespace},
};
use crate::base::Refusal;

/// A program of ours on a device.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) device: String,
    pub(crate) ifindex: u32,
    pin: PathBuf,
    program: u32,
    /// Whether this daemon loaded the program, over the tables that it writes.
    pub(crate) current: bool,
}

impl Attachment {
    /// Attaches `program` natively to the target's device, and pins it.
    ///
    /// # Errors
    /// The driver or the kernel does not take it; nothing is attached.
    pub(crate) fn create(program: &mut Program, target: &Target, pins: &Pins) -> Result<Self, Refusal> {
        let driver = ethtool::driver(&target.device);
        let refuse = |error| refuse_attach(target, driver.as_deref(), &error);
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
        let xdp = program.xdp().map_err(refuse)?;
        let id = xdp.info().map_err(refuse)?.id();
        let link = xdp.attach_to_if_index(target.ifindex, XdpMode::Driver).map_err(refuse)?;
        let link = xdp.take_link(link).map_err(refuse)?;
        // After EINVAL aya attaches over netlink; such an attachment cannot be pinned and is dropped here.
        let link = FdLink::try_from(link).map_err(|_| {
            other("this kernel attaches it without a link (5.9 or newer is needed)".to_owned())
        })?;
        link.pin(&pin).map_err(|error| other(chain(&error)))?;
        tracing::info!(device = target.device, ifindex = target.ifindex, program = id, "filter attached");
        Ok(Self { device: target.device.clone(), ifindex: target.ifindex, pin, program: id, current: true })
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
        let link = PinnedLink::from_pin(&self.pin).map_err(|error| refuse_link(&self.device, &error))?;
        let link =
            XdpLink::try_from(FdLink::from(link)).map_err(|error| refuse_link(&self.device, &error))?;
        let xdp = program.xdp().map_err(|error| refuse(chain(&error)))?;
        let id = xdp.info().map_err(|error| refuse(chain(&error)))?.id();
        let link = xdp.attach_to_link(link).map_err(|error| refuse(chain(&error)))?;
        // The pin holds the link; the program does not.
        drop(xdp.take_link(link));
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
        links.iter().any(|link| link.index == self.ifindex && link.programs.contains(&self.program))
            && self.pin.exists()
    }

    /// Takes the program off, and returns when it is off.
    pub(crate) fn detach(self) {
        match fs::remove_file(&self.pin) {
            Ok(()) => {
                await_release(self.ifindex, self.program);
                tracing::info!(device = self.device, "filter detached");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(device = self.device, %error, "filter not detached"),
        }
    }
}

/// The kernel releases the link of a removed pin from a work queue, some milliseconds later. Until then the device is
/// taken, and the next attach would find a program that seems to be somebody else's.
fn await_release(ifindex: u32, program: u32) {
    for _ in 0..100 {
        let there = netlink::links().is_ok_and(|links| {
            links.iter().any(|link| link.index == ifindex && link.programs.contains(&program))
        });
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
        let program = match PinnedLink::from_pin(&pin).and_then(|link| FdLink::from(link).info()) {
            Ok(info) => info.program_id(),
            Err(error) => {
                tracing::warn!(device, error = chain(&error), "a pinned link cannot be read");
                continue;
            }
        };
        let Some(link) = links.iter().find(|link| link.programs.contains(&program)) else {
            tracing::info!(device, "the device of a pinned link is gone");
            fs::remove_file(&pin)?;
            continue;
        };
        let pin = renamed(pins, pin, &device, &link.name)?;
        adopted.push(Attachment {
            device: link.name.clone(),
            ifindex: link.index,
            pin,
            program,
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
