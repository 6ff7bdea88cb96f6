//! What an idle connection costs in memory: resident size of a proxy's processes before and with thousands of HTTPS/1.1
//! connections that each had one answer. Every round has fresh processes, because memory once taken seldom goes back.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::{Candidate, HOST, LOAD_CORE, Scene, Stage, TOKEN};
use crate::bench::filter;
use crate::bench::report::{Machine, Series, Table};
use crate::run;

pub(super) const NAME: &str = "idle";
const CONNECTIONS: u32 = 9000;
/// Two per connection in HAProxy's arithmetic, the gateway's, and some to spare.
const DESCRIPTORS: u64 = 20_000;
/// Memory hardly varies; more rounds would only take time.
const ROUNDS: usize = 3;
/// Until what a request needed has been given back. The gateway ends what was idle for 75 s.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) fn measure(
    gateway: Option<&Path>,
    descriptors: u64,
    rounds: usize,
) -> anyhow::Result<serde_json::Value> {
    if descriptors < DESCRIPTORS {
        bail!("{CONNECTIONS} idle connections need {DESCRIPTORS} open files; the limit is {descriptors}");
    }
    let clients = filter::program()?;
    let rounds = rounds.min(ROUNDS);
    run::step(&format!("{CONNECTIONS} idle HTTPS connections: {rounds} rounds, fresh processes in each"));
    let mut measured: Vec<(&str, Measured)> = Vec::new();
    for _ in 0..rounds {
        let stage = Stage::new(gateway, descriptors)?;
        for (index, candidate) in stage.candidates.iter().enumerate() {
            let (before, with) = weigh(&stage.scene, candidate, &clients)
                .with_context(|| format!("{NAME} with {}", candidate.name))?;
            if measured.len() <= index {
                measured.push((candidate.name, Measured::default()));
            }
            if let Some((_, own)) = measured.get_mut(index) {
                own.add(before, with);
            }
        }
        stage.strike()?;
    }
    let mut table = Table::new(
        &format!("{CONNECTIONS} idle HTTPS/1.1 connections ({})", Machine::here().line()),
        &["proxy", "RSS before, MiB", "RSS with them, MiB", "KiB/connection", "ours / this"],
    );
    for (name, own) in &measured {
        let ours = measured.first().map(|(_, ours)| ours.each.ratio(&own.each)).unwrap_or_default();
        let mib = |series: &Series| Series(series.0.iter().map(|kib| kib / 1024.0).collect()).text(1);
        table.row(vec![(*name).to_owned(), mib(&own.before), mib(&own.with), own.each.text(1), ours.text(2)]);
    }
    table.print();
    let raw = measured.iter().map(|(name, own)| {
        json!({
            "proxy": name, "rss_before_kib": own.before.0, "rss_with_kib": own.with.0,
            "kib_per_connection": own.each.0,
        })
    });
    Ok(json!({ "case": NAME, "connections": CONNECTIONS, "proxies": raw.collect::<Vec<_>>() }))
}

/// What the rounds gave for one candidate, in KiB.
#[derive(Default)]
struct Measured {
    before: Series,
    with: Series,
    each: Series,
}

impl Measured {
    fn add(&mut self, before: f64, with: f64) {
        self.before.0.push(before);
        self.with.0.push(with);
        self.each.0.push((with - before) / f64::from(CONNECTIONS));
    }
}

/// Resident KiB before and with the connections. Connections that the proxy gave up meanwhile do not count as held.
fn weigh(scene: &Scene, candidate: &Candidate, program: &Path) -> anyhow::Result<(f64, f64)> {
    sleep(SETTLE);
    let before = candidate.server.resident()?;
    let mut clients = Clients::start(scene, candidate, program)?;
    clients.expect("ready")?;
    sleep(SETTLE);
    let with = candidate.server.resident()?;
    clients.let_go();
    clients.expect(&format!("held {CONNECTIONS}"))?;
    Ok((before, with))
}

/// The clients' process, which bounds itself in time.
struct Clients {
    child: Child,
    hold: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Clients {
    fn start(scene: &Scene, candidate: &Candidate, program: &Path) -> anyhow::Result<Self> {
        let program = program.to_str().context("the path of gateway-bench is not UTF-8")?;
        let mut command = scene.namespace.pinned(LOAD_CORE, program);
        command.args(["idle", "--host", HOST, "--path", "/api/b128", "--body", "128", "--token", TOKEN]);
        command.args(["--address", &format!("127.0.0.1:{}", candidate.port)]);
        command.args(["--connections", &CONNECTIONS.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| run::line(&command))?;
        let hold = child.stdin.take();
        let said = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(Self { child, hold, said })
    }

    /// Its next line; its own words about a failure are on stderr.
    fn expect(&mut self, wanted: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        if line.trim() != wanted {
            bail!("the clients said `{}`, not `{wanted}`", line.trim());
        }
        Ok(())
    }

    /// Ends its stdin.
    fn let_go(&mut self) {
        self.hold = None;
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // It has nothing to save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
