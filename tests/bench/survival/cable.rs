//! The cable between the allowed client with the attacker and the gateway, and what can be seen of it.

use anyhow::Context as _;
use harness::NetNs;
use nix::unistd::Pid;
use serde::Serialize;

use crate::{
    flood::{self, RECEIVER, SENDER},
    policy,
};

/// Within the first entry of the policy.
const CLIENT: &str = "10.200.0.2";

/// Both ends, and the thread that receives.
pub(super) struct Cable {
    pub(super) sender: NetNs,
    pub(super) receiver: NetNs,
    napi: Pid,
}

/// Reads what happens on the cable.
pub(super) struct Watch<'c>(pub(super) &'c Cable);

/// What was seen at one time, since the cable was made.
pub(super) struct Seen {
    /// Nanoseconds that the receiving thread has run.
    pub(super) napi: u64,
    pub(super) lost: Lost,
}

/// Packets that found the receiver's ring full.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Lost {
    flow: u64,
    flood: u64,
}

// === impl Cable ===

impl Cable {
    pub(super) fn new() -> anyhow::Result<Self> {
        let (sender, receiver, napi) = flood::cable()?;
        sender.check("ethtool", &["-K", SENDER, "tso", "off"]);
        sender.ip(&["addr", "add", &format!("{CLIENT}/24"), "dev", SENDER]);
        sender.ip(&["route", "add", &policy::ADDRESS_V4.to_string(), "dev", SENDER]);
        receiver.ip(&["route", "add", "10.200.0.0/24", "dev", RECEIVER]);
        // A host without a filter answers outsiders; the answers go somewhere, as they do in life.
        receiver.ip(&[
            "neigh",
            "add",
            "192.0.2.254",
            "lladdr",
            "02:00:00:00:00:fe",
            "dev",
            RECEIVER,
            "nud",
            "permanent",
        ]);
        receiver.ip(&["route", "add", "default", "via", "192.0.2.254"]);
        Ok(Self { sender, receiver, napi })
    }
}

// === impl Watch ===

impl Watch<'_> {
    pub(super) fn look(&self) -> anyhow::Result<Seen> {
        let Cable { sender, napi, .. } = self.0;
        let text = sender.check("ethtool", &["-S", SENDER]);
        let flood = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("tx_queue_0_xdp_xmit_errors:")?.trim().parse().ok())
            .with_context(|| format!("ethtool said: {text}"))?;
        let text = sender.ip(&["-s", "-j", "link", "show", "dev", SENDER]);
        let links: serde_json::Value = serde_json::from_str(&text)?;
        let both = links[0]["stats64"]["tx"]["dropped"].as_u64().context("tx.dropped")?;
        // The interface counts either kind, and is read a moment later.
        Ok(Seen { napi: flood::run_time(*napi)?, lost: Lost { flow: both.saturating_sub(flood), flood } })
    }
}

// === impl Lost ===

impl Lost {
    pub(super) fn since(self, before: Self) -> Self {
        Self { flow: self.flow.saturating_sub(before.flow), flood: self.flood.saturating_sub(before.flood) }
    }
}
