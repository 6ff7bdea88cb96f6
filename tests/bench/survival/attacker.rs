//! The attacker: SYNs from random sources at a steady pace, from core 0.

use std::{
    net::Ipv4Addr,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::{
    EbpfLoader,
    maps::{Array, MapData},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use harness::NetNs;
use nix::unistd::Pid;

use crate::{
    flood::{self, SENDER},
    frames::{self, syn},
    policy,
};

/// However wrong a round goes, its flood ends after this time.
const LONGEST: Duration = Duration::from_secs(10);
/// Frames that the receiver is told of at once, each still made at its time: what a card that moderates its interrupts
/// does, 71 µs of this flood. Each telling wakes the receiving thread, and on a virtual machine that costs more than
/// what it then does about a few frames: with 16 instead of 64 the wake-ups are measured, not the filters. The ring has
/// 256 places.
const AT_ONCE: u32 = 64;

/// A paced flood until it is stopped or has lasted too long.
pub(super) struct Flood {
    pace: Array<MapData, u64>,
    sender: Option<JoinHandle<anyhow::Result<()>>>,
    start: Instant,
}

// === impl Flood ===

impl Flood {
    pub(super) fn start(namespace: &NetNs, rate: u64) -> anyhow::Result<Self> {
        let frame = syn(Ipv4Addr::UNSPECIFIED.into(), policy::PORT);
        let (ip, tcp) = frames::sums(&frame);
        let target = namespace.within(|| nix::net::if_::if_nametoindex(SENDER))?;
        let mut bench = EbpfLoader::new()
            .override_global("TARGET", &target, true)
            .override_global("IP_SUM", &ip, true)
            .override_global("TCP_SUM", &tcp, true)
            .override_global("GAP", &(1_000_000_000 / rate), true)
            .load(&policy::object("gateway-bench")?)?;
        let program: &mut Xdp = bench.program_mut("paced").context("paced")?.try_into()?;
        program.load()?;
        let mut pace = Array::try_from(bench.take_map("PACE").context("PACE")?)?;
        pace.set(1, 0, 0)?;
        let repeat = u32::try_from(rate * LONGEST.as_secs())?;
        let path = namespace.path();
        let sender = thread::spawn(move || {
            harness::netns::within_path(&path, || -> anyhow::Result<()> {
                flood::pin(Pid::from_raw(0), 0)?;
                let program: &mut Xdp = bench.program_mut("paced").context("paced")?.try_into()?;
                program.test_run(TestRunOptions {
                    data_in: Some(&frame),
                    repeat,
                    attrs: TestRunAttrs::new().xdp_live_frames(AT_ONCE),
                    ..TestRunOptions::new()
                })?;
                Ok(())
            })
        });
        Ok(Self { pace, sender: Some(sender), start: Instant::now() })
    }

    /// Whether it ended by itself.
    pub(super) fn ended(&self) -> bool {
        self.sender.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it; frames sent and for how long.
    pub(super) fn stop(mut self) -> anyhow::Result<(u64, Duration)> {
        let elapsed = self.start.elapsed();
        let sent = self.pace.get(&2, 0)?;
        self.end()?;
        Ok((sent, elapsed))
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.pace.set(1, 1, 0)?;
        match self.sender.take() {
            Some(sender) => sender.join().map_err(|_| anyhow::anyhow!("the flood's sender panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the flood could not be ended: {error:#}");
        }
    }
}
