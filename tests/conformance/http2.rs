//! HTTP/2 frame by frame: every case of the table in `h2/cases.py`, on the TLS port and with prior knowledge.

use std::collections::BTreeSet;

use crate::stage::{HOST, HTTP, HTTPS, Stage, assert_all_pass, verdicts};

/// 146, and the one that the usual suite runs in its strict mode only.
const CASES: usize = 147;

#[track_caller]
fn run(port: &str, transport: &str) {
    let stage = Stage::new();
    let mut judge = stage.python("h2/run.py");
    judge.args([HOST, port, transport, "/api/predict/echo/"]);
    let verdicts = verdicts(&mut judge);
    let names: BTreeSet<&str> = verdicts.iter().map(|verdict| verdict.case.as_str()).collect();
    assert_eq!(names.len(), verdicts.len(), "two cases have one name");
    assert_all_pass(&verdicts, CASES);
    // The valid requests among them were answered by the instance, not by the gateway.
    assert!(stage.upstream.requests() >= 40, "the instance saw {} requests", stage.upstream.requests());
}

#[test]
fn every_case_holds_over_tls() {
    run(HTTPS, "tls");
}

#[test]
fn every_case_holds_with_prior_knowledge() {
    run(HTTP, "plain");
}
