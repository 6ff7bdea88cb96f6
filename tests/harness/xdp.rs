//! What the kernel says about the program on an interface: attached how, run how often.

use std::os::fd::OwnedFd;

use serde_json::Value;

use crate::netns::NetNs;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes a packet of the frame.
    Native,
    Generic,
    Other,
}

/// The program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub mode: Mode,
    pub id: u32,
    pub name: String,
}

/// The XDP program on `interface`, read from `ip -d -j link`.
#[must_use]
#[track_caller]
pub fn attached(namespace: &NetNs, interface: &str) -> Option<Attached> {
    let text = namespace.ip(&["-d", "-j", "link", "show", "dev", interface]);
    let links: Value = serde_json::from_str(&text).expect("ip speaks JSON");
    let xdp = links[0].get("xdp")?;
    let id = u32::try_from(xdp["prog"]["id"].as_u64()?).ok()?;
    // linux/if_link.h: XDP_ATTACHED_DRV is 1, XDP_ATTACHED_SKB is 2.
    let mode = match xdp["mode"].as_u64() {
        Some(1) => Mode::Native,
        Some(2) => Mode::Generic,
        _ => Mode::Other,
    };
    Some(Attached { mode, id, name: xdp["prog"]["name"].as_str().unwrap_or_default().to_owned() })
}

/// While this lives, the kernel counts how often each program runs.
#[derive(Debug)]
pub struct Counting {
    _statistics: OwnedFd,
}

// === impl Counting ===

impl Counting {
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime).expect("BPF_ENABLE_STATS");
        Self { _statistics: statistics }
    }

    /// Runs of the program with this id so far; `None` when it is gone.
    #[must_use]
    pub fn runs(&self, id: u32) -> Option<u64> {
        aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == id)
            .map(|program| program.run_count())
    }
}
