//! The proxy against nginx and HAProxy, doing the same job with one core each.
//!
//! The job: TLS with the same P-256 certificate, 100 services by host name and path prefix, 10,000 tokens in the
//! peers (one per service here, as the product has it), a limit per token that is evaluated and never bites, one log
//! line per request to a file, HTTP/1.1 to one upstream over kept connections. Proxy on core 0; wrk and the upstream
//! on core 1.
//!
//! The figure is CPU time of the proxy's processes per request. It holds also when the load generator is the
//! bottleneck; requests per second only count where the proxy's core was busy. The case `idle` is about memory instead.

mod gateway;
mod idle;
mod peers;
mod wrk;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use super::Arguments;
use super::process::{Namespace, Server};
use super::report::{self, Machine, Series, Table};
use crate::run;
use wrk::Load;

const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;
const SERVICES: usize = 100;
const HOST: &str = "svc7.example.test";
const TOKEN: &str = "tok-00007";
const UPSTREAM: &str = "127.0.0.1:9100";

/// What is asked for, and how.
struct Case {
    name: &'static str,
    title: &'static str,
    path: &'static str,
    connections: usize,
    close: bool,
}

const CASES: [Case; 3] = [
    Case {
        name: "https128",
        title: "HTTPS keep-alive, 128 B",
        path: "/api/b128",
        connections: 64,
        close: false,
    },
    Case {
        name: "https16k",
        title: "HTTPS keep-alive, 16 KiB",
        path: "/api/b16k",
        connections: 64,
        close: false,
    },
    Case {
        name: "httpsnew",
        title: "HTTPS, a new handshake each",
        path: "/api/b128",
        connections: 16,
        close: true,
    },
];

/// A running proxy.
struct Candidate {
    name: &'static str,
    server: Server,
    port: u16,
}

/// The scene that all candidates share.
struct Scene {
    namespace: Namespace,
    directory: PathBuf,
    /// How many files a process may open.
    descriptors: u64,
}

/// The scene with everything that runs in it. What is first here ends first.
struct Stage {
    candidates: Vec<Candidate>,
    _upstream: Server,
    scene: Scene,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
        bail!("the proxy benchmark needs two cores: one for the proxy, one for the load");
    }
    let wanted = |name: &str| arguments.case.as_deref().is_none_or(|case| case == name);
    let cases: Vec<&Case> = CASES.iter().filter(|case| wanted(case.name)).collect();
    if cases.is_empty() && !wanted(idle::NAME) {
        bail!("the proxy benchmark has no case `{}`", arguments.case.as_deref().unwrap_or_default());
    }
    let descriptors = raise_descriptors()?;
    let gateway = if arguments.peers_only { None } else { Some(super::gateway(arguments)?) };
    let mut figures = Vec::new();
    if !cases.is_empty() {
        let stage = Stage::new(gateway.as_deref(), descriptors)?;
        for case in cases {
            figures.push(measure(&stage.scene, case, &stage.candidates, arguments)?);
        }
        stage.strike()?;
    }
    if wanted(idle::NAME) {
        figures.push(idle::measure(gateway.as_deref(), descriptors, arguments.rounds)?);
    }
    // One case alone does not replace the figures of all.
    let name = arguments.case.as_ref().map_or_else(|| "proxy".to_owned(), |case| format!("proxy-{case}"));
    report::save(&name, &json!(figures))
}

/// Raises the limit of open files, which whatever is started here inherits, and returns it.
fn raise_descriptors() -> anyhow::Result<u64> {
    const PLENTY: u64 = 65_536;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // Beyond the hard limit only with CAP_SYS_RESOURCE, which root in a container may lack.
    if setrlimit(Resource::RLIMIT_NOFILE, PLENTY, hard.max(PLENTY)).is_ok() {
        return Ok(PLENTY);
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

fn is_log(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "log")
}

/// Interleaved rounds of one case over all candidates; the first candidate is ours.
fn measure(
    scene: &Scene,
    case: &Case,
    candidates: &[Candidate],
    arguments: &Arguments,
) -> anyhow::Result<serde_json::Value> {
    run::step(&format!(
        "{}: {} rounds of {} s for each of {}",
        case.title,
        arguments.rounds,
        arguments.seconds,
        candidates.iter().map(|candidate| candidate.name).collect::<Vec<_>>().join(", ")
    ));
    let mut measured = vec![Measured::default(); candidates.len()];
    for _ in 0..arguments.rounds {
        for (candidate, measured) in candidates.iter().zip(&mut measured) {
            let load = wrk::run(scene, case, candidate, arguments.seconds)
                .with_context(|| format!("{} with {}", case.name, candidate.name))?;
            measured.add(&load);
        }
    }
    let mut table = Table::new(
        &format!("{} ({})", case.title, Machine::here().line()),
        &["proxy", "CPU µs/request", "of it user", "requests/s", "core busy %", "p99 ms", "ours / this"],
    );
    for (candidate, own) in candidates.iter().zip(&measured) {
        let ours = measured.first().map(|ours| ours.cpu.ratio(&own.cpu)).unwrap_or_default();
        table.row(vec![
            candidate.name.to_owned(),
            own.cpu.text(1),
            format!("{:.1}", own.user.median()),
            own.rate.text(0),
            format!("{:.0}", own.busy.median()),
            format!("{:.1}", own.p99.median()),
            ours.text(2),
        ]);
    }
    table.print();
    let raw = candidates.iter().zip(&measured).map(|(candidate, own)| {
        json!({
            "proxy": candidate.name, "cpu_us_per_request": own.cpu.0, "user_us_per_request": own.user.0,
            "requests_per_second": own.rate.0, "core_busy_percent": own.busy.0, "p99_ms": own.p99.0,
        })
    });
    Ok(json!({ "case": case.name, "seconds": arguments.seconds, "proxies": raw.collect::<Vec<_>>() }))
}

/// What the rounds gave for one candidate.
#[derive(Clone, Default)]
struct Measured {
    cpu: Series,
    user: Series,
    rate: Series,
    busy: Series,
    p99: Series,
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]
    fn add(&mut self, load: &Load) {
        let requests = load.requests.max(1) as f64;
        self.cpu.0.push(load.cpu.total() / requests * 1e6);
        self.user.0.push(load.cpu.user / requests * 1e6);
        self.rate.0.push(requests / load.seconds);
        self.busy.0.push(load.cpu.total() / load.seconds * 100.0);
        self.p99.0.push(load.p99_ms);
    }
}

// === impl Stage ===

impl Stage {
    /// Starts everything anew; each candidate is checked to do the job.
    fn new(gateway: Option<&Path>, descriptors: u64) -> anyhow::Result<Self> {
        let directory = report::directory().join("proxy");
        // State of an earlier run would be adopted.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let scene = Scene { namespace: Namespace::new("px")?, directory, descriptors };
        scene.make_certificate()?;
        let upstream = peers::upstream(&scene)?;
        let mut candidates = Vec::new();
        if let Some(gateway) = gateway {
            candidates.push(gateway::start(&scene, gateway, 9201)?);
        }
        candidates.push(peers::nginx(&scene, 9202)?);
        candidates.push(peers::haproxy(&scene, 9203)?);
        for candidate in &mut candidates {
            scene.check(candidate)?;
        }
        Ok(Self { candidates, _upstream: upstream, scene })
    }

    /// Ends it. A log line per request adds up to gigabytes; the configuration stays for whoever wants to look.
    fn strike(self) -> anyhow::Result<()> {
        let Self { candidates, _upstream: upstream, scene } = self;
        drop((candidates, upstream));
        for log in fs::read_dir(&scene.directory)?.flatten().filter(|file| is_log(&file.path())) {
            fs::remove_file(log.path())?;
        }
        Ok(())
    }
}

// === impl Scene ===

impl Scene {
    fn make_certificate(&self) -> anyhow::Result<()> {
        let mut openssl = run::command("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl.args([
            "-days",
            "30",
            "-subj",
            "/CN=example.test",
            "-addext",
            "subjectAltName=DNS:*.example.test",
        ]);
        openssl
            .arg("-keyout")
            .arg(self.directory.join("key.pem"))
            .arg("-out")
            .arg(self.directory.join("cert.pem"));
        run::output(&mut openssl).context("openssl did not make a certificate")?;
        let pair = ["cert.pem", "key.pem"].map(|name| fs::read_to_string(self.directory.join(name)));
        let [certificate, key] = pair;
        fs::write(self.directory.join("both.pem"), certificate? + &key?)?;
        // wrk sends the URL's host as SNI; no resolver of the machine knows these names.
        fs::write(self.directory.join("hosts"), format!("127.0.0.1 localhost {HOST}\n"))?;
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// A candidate that does another job is not measured: with the token the whole body, without it 401.
    fn check(&self, candidate: &mut Candidate) -> anyhow::Result<()> {
        let ask = |token: &str| {
            let mut curl = self.namespace.command("curl");
            curl.args(["-sk", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"]);
            curl.args(["--resolve", &format!("{HOST}:{}:127.0.0.1", candidate.port), "-H", token]);
            curl.arg(format!("https://{HOST}:{}/api/b16k", candidate.port));
            run::output(&mut curl).unwrap_or_default()
        };
        let good = format!("Authorization: Bearer {TOKEN}");
        candidate.server.wait_until(|| ask(&good) == "200 16384").with_context(|| candidate.name)?;
        let refused = ask("Authorization: Bearer nobody");
        if !refused.starts_with("401 ") {
            bail!("{} answers a wrong token with {refused}, not with 401", candidate.name);
        }
        Ok(())
    }
}
