//! `gateway detach`: takes the filter off without a daemon.

use std::{fs, path::Path};

use serde::Serialize;

use super::{attach, netlink, pin::Pins};
use crate::base::Refusal;

/// What a detach did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Detached {
    /// Devices that the program was taken off (of any network namespace).
    pub devices: Vec<String>,
    /// Table sets that were removed.
    pub layouts: usize,
}

/// Takes every program of this pin directory off, and removes its tables and the directory. With an `interface`, only
/// what is attached to that device; the tables go with the last program.
///
/// # Errors
/// A daemon holds the filter, or the directory cannot be changed.
pub fn detach(pin_dir: &Path, interface: Option<&str>) -> Result<Detached, Refusal> {
    let Some(pins) = Pins::open_existing(pin_dir)? else {
        return Ok(Detached::default());
    };
    let refuse = |error: std::io::Error| {
        Refusal::new("filter_detach", format_args!("the filter cannot be taken off: {error}"))
            .field("pin_dir", pin_dir.display())
    };
    let mut done = Detached::default();
    // Those of this namespace are waited for, and go by the name that their device has now.
    let links = netlink::links().map_err(refuse)?;
    for attachment in attach::adopt(&pins, &links).map_err(refuse)? {
        if interface.is_none_or(|interface| interface == attachment.device) {
            done.devices.push(attachment.device.clone());
            attachment.detach();
        }
    }
    for (pin, _, device) in pins.links().map_err(refuse)? {
        if interface.is_none_or(|interface| interface == device) {
            fs::remove_file(pin).map_err(refuse)?;
            done.devices.push(device);
        }
    }
    done.devices.sort();
    if pins.links().map_err(refuse)?.is_empty() {
        done.layouts = pins.remove_maps(None).map_err(refuse)?;
        pins.remove().map_err(refuse)?;
    }
    Ok(done)
}
