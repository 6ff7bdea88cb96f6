//! WebSocket as Autobahn's fuzzing client judges it: through the gateway the verdict of every case is the one that the
//! server behind it gets directly, over ws and over wss.
//!
//! The server is Autobahn's echo server (`websocket/echo.py`). What it does not do perfectly is its own affair; a gateway that touched a
//! byte, closed early or late, or held anything back would change a verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Stdio,
    time::Duration,
};

use harness::{process, process::Running, wait};
use serde_json::{Value, json};

use crate::stage::{HOST, HTTP, HTTPS, Stage, script, tool};

/// Groups 1 to 7: framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing. The others are of size (9, 10)
/// and of compression (12, 13), which the echo server does not speak.
const GROUPS: [&str; 7] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*"];
const CASES: usize = 246;
const ECHO: &str = "127.0.0.1:9002";

/// The verdict of a case: in the case, and at its close.
type Verdict = (String, String);

/// A few cases end with the server closing under what is still sent to it, and whether its last words are read before the
/// reset is a matter of timing, directly too. Such a case is run again, both ways, this many times at most.
const ROUNDS: usize = 6;

#[test]
fn every_case_gets_the_verdict_that_it_gets_directly() {
    let stage = Stage::new();
    let desk = &stage.desk;
    let _echo = echo_server(&stage);
    desk.ok(&["service", "add", "ws", "--no-auth", "--instance", ECHO]);
    let straight = format!("ws://{ECHO}");
    let all: Vec<String> = GROUPS.iter().map(|&group| group.to_owned()).collect();
    let direct = judge(&stage, "direct", &straight, &all);
    assert_eq!(direct.len(), CASES, "cases are missing");
    let well = direct.values().filter(|(behaviour, _)| behaviour == "OK").count();
    assert!(well >= 225, "the echo server itself passes {well} cases only: {direct:?}");
    for (agent, url) in [
        ("plain", format!("ws://{HOST}:{HTTP}/api/predict/ws/")),
        ("tls", format!("wss://{HOST}:{HTTPS}/api/predict/ws/")),
    ] {
        let through = judge(&stage, agent, &url, &all);
        assert_eq!(through.len(), CASES, "{agent}: cases are missing");
        // By case: the verdicts that were given directly, and those through the gateway.
        let mut differing: BTreeMap<String, [BTreeSet<Verdict>; 2]> = BTreeMap::new();
        note(&mut differing, 0, &direct);
        note(&mut differing, 1, &through);
        for _ in 0..ROUNDS {
            differing.retain(|_, [straight, round]| differs(straight, round));
            if differing.is_empty() {
                break;
            }
            let again: Vec<String> = differing.keys().cloned().collect();
            note(&mut differing, 0, &judge(&stage, "direct", &straight, &again));
            note(&mut differing, 1, &judge(&stage, agent, &url, &again));
        }
        differing.retain(|_, [straight, round]| differs(straight, round));
        assert!(differing.is_empty(), "{agent}: directly and through the gateway: {differing:#?}");
    }
}

/// Whether no verdict through the gateway was also given directly. A few cases are not strict directly because of timing,
/// and right through the gateway, whose pieces come at other times: that is nothing lost.
fn differs(straight: &BTreeSet<Verdict>, round: &BTreeSet<Verdict>) -> bool {
    let right = |(behaviour, close): &Verdict| behaviour == "OK" && close == "OK";
    straight.is_disjoint(round) && !round.iter().any(right)
}

fn note(
    found: &mut BTreeMap<String, [BTreeSet<Verdict>; 2]>,
    way: usize,
    verdicts: &BTreeMap<String, Verdict>,
) {
    for (case, verdict) in verdicts {
        let ways = found.entry(case.clone()).or_default();
        ways.iter_mut().skip(way).take(1).for_each(|seen| {
            seen.insert(verdict.clone());
        });
    }
}

#[track_caller]
fn echo_server(stage: &Stage) -> Running {
    let mut command = stage.command(tool("autobahn", "bin/python"));
    command.arg("-B").arg(script("websocket/echo.py")).args(ECHO.split(':'));
    let server = Running::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    wait::until("the echo server", || {
        stage.desk.within(|| std::net::TcpStream::connect(ECHO).is_ok()).then_some(())
    });
    server
}

/// Runs these cases of the fuzzing client against `url`.
#[track_caller]
fn judge(stage: &Stage, agent: &str, url: &str, cases: &[String]) -> BTreeMap<String, Verdict> {
    let scratch = stage.desk.gateway.scratch();
    let reports = scratch.join(&format!("autobahn-{agent}"));
    let options = json!({
        "outdir": reports,
        "servers": [{ "agent": agent, "url": url, "options": { "version": 18 } }],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let file = scratch.write(&format!("autobahn-{agent}.json"), options.to_string());
    let mut command = stage.command(tool("autobahn", "bin/wstest"));
    command.args(["-m", "fuzzingclient", "-s"]).arg(file).current_dir(scratch.path());
    process::run(&mut command, Duration::from_secs(120)).success();
    let index = reports.join("index.json");
    let text = fs::read_to_string(&index).unwrap_or_else(|error| panic!("{}: {error}", index.display()));
    let parsed: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let cases = parsed.get(agent).and_then(Value::as_object).into_iter().flatten();
    let word = |case: &Value, key: &str| {
        case.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no {key} in {case}")).to_owned()
    };
    cases.map(|(name, case)| (name.clone(), (word(case, "behavior"), word(case, "behaviorClose")))).collect()
}
