//! The decision over the maps.
#![expect(unsafe_code, reason = "a hash map's values may be replaced while they are looked at")]

use gateway_common::{
    decide::{Tables, Verdict, decide},
    packet::Packet,
    table::{EndpointKey, PORT_GENERATION, Slot},
};

use crate::{
    frame::Frame,
    maps::{ENDPOINTS, INTERFACE, PORTS, Ports, SLOT_TABLE},
};

/// The generation that a packet is judged by.
pub(crate) struct Live {
    ports: &'static Ports,
}

/// A packet with its verdict.
pub(crate) struct Judged {
    pub(crate) packet: Packet,
    pub(crate) verdict: Verdict,
    /// What it was judged by; `None` before any policy was published.
    pub(crate) live: Option<Live>,
}

#[inline(always)]
pub(crate) fn judge<F: Frame>(frame: &F) -> Judged {
    let packet = frame.packet();
    let live = PORTS.get(0).map(|ports| Live { ports });
    let verdict = live.as_ref().map_or(Verdict::NOT_LISTENER, |live| decide(live, INTERFACE.load(), &packet));
    Judged { packet, verdict, live }
}

impl Tables for Live {
    #[inline(always)]
    fn port(&self, port: u16) -> Option<u32> {
        self.ports.get(u32::from(port)).copied()
    }

    #[inline(always)]
    fn slot(&self, number: u32) -> Option<&Slot> {
        SLOT_TABLE.get(number)
    }

    #[inline(always)]
    fn endpoint(&self, key: &EndpointKey) -> Option<u32> {
        // SAFETY: the value is copied at once. Should the daemon delete the row meanwhile, it belonged to a
        // generation that no program uses any more.
        unsafe { ENDPOINTS.get(key) }.copied()
    }

    #[inline(always)]
    fn generation(&self) -> u32 {
        self.ports.get(PORT_GENERATION).copied().unwrap_or(0)
    }
}
