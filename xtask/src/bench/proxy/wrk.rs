//! One measurement: wrk's load on one core, the proxy's CPU time around it.

use std::time::Instant;

use anyhow::{Context as _, bail};

use super::{Candidate, Case, HOST, LOAD_CORE, Scene, TOKEN};
use crate::bench::process::Cpu;
use crate::run;

/// What one measurement gave.
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) seconds: f64,
    pub(super) cpu: Cpu,
    pub(super) p99_ms: f64,
}

pub(super) fn run(scene: &Scene, case: &Case, candidate: &Candidate, seconds: u64) -> anyhow::Result<Load> {
    let mut wrk = format!(
        "wrk -t1 -c{} -d{seconds}s --latency -H 'Authorization: Bearer {TOKEN}'{} https://{HOST}:{}{}",
        case.connections,
        if case.close { " -H 'Connection: close'" } else { "" },
        candidate.port,
        case.path
    );
    // A mount namespace of its own gives wrk a hosts file of its own.
    wrk = format!("mount --bind {} /etc/hosts && exec {wrk}", scene.directory.join("hosts").display());
    let mut command = scene.namespace.pinned(LOAD_CORE, "unshare");
    command.args(["--mount", "sh", "-c", &wrk]);
    let before = candidate.server.cpu();
    let start = Instant::now();
    let text = run::output(&mut command).context("wrk failed")?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = candidate.server.cpu().since(before);
    let (requests, p99_ms) = parse(&text).with_context(|| format!("wrk said:\n{text}"))?;
    Ok(Load { requests, seconds, cpu, p99_ms })
}

/// Requests and the 99th percentile from wrk's output; a run with refusals or broken connections does not count.
fn parse(text: &str) -> anyhow::Result<(u64, f64)> {
    for trouble in ["Non-2xx or 3xx responses", "Socket errors"] {
        if let Some(line) = text.lines().find(|line| line.contains(trouble)) {
            bail!("{}", line.trim());
        }
    }
    let requests =
        text.lines().find_map(|line| line.split_once(" requests in ")).context("no request count")?.0;
    let p99 = text.lines().find_map(|line| line.trim().strip_prefix("99%")).context("no 99th percentile")?;
    Ok((requests.trim().parse()?, milliseconds(p99.trim())?))
}

fn milliseconds(text: &str) -> anyhow::Result<f64> {
    for (unit, factor) in [("us", 1e-3), ("ms", 1.0), ("s", 1e3)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    bail!("`{text}` is no time")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running 4s test\n  Latency Distribution\n     50%    1.27ms\n     99%  890.00us\n  \
                          164391 requests in 4.00s, 50.1MB read\nRequests/sec:  41097.02\n";

    #[test]
    fn wrk_is_understood_and_its_troubles_are_not_ignored() {
        let (requests, p99) = parse(OUTPUT).unwrap();
        assert_eq!(requests, 164_391);
        assert!((p99 - 0.89).abs() < 1e-9);
        assert!((milliseconds("1.50s").unwrap() - 1500.0).abs() < 1e-9);
        let refused = format!("{OUTPUT}  Non-2xx or 3xx responses: 7\n");
        assert!(parse(&refused).unwrap_err().to_string().contains(": 7"));
        assert!(parse("").is_err());
    }
}
