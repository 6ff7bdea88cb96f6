//! gRPC through the gateway: the interop cases and the gateway's own promises (`grpc/interop.py`), over TLS and with
//! prior knowledge on the plain port (GR-1 to GR-3).

use harness::{Authority, gateway::free_address};

use crate::stage::{HOST, HTTP, HTTPS, Stage, assert_all_pass, verdicts};

const CASES: usize = 33;
const AUTHORITY: &str = "rpc.example.org";

#[track_caller]
fn run(port: &str, tls: bool) {
    let stage = Stage::new();
    let desk = &stage.desk;
    let (instance, nobody) = desk.within(|| (free_address(), free_address()));
    let authority = Authority::new();
    let trust = authority.write(desk.gateway.scratch());
    let files = authority.leaf(&[AUTHORITY]).write(desk.gateway.scratch(), "rpc");
    desk.ok(&["cert", "add", "rpc", "--chain", files.chain(), "--key", files.key()]);
    desk.ok(&["domain", "add", AUTHORITY, "--exposure", "public", "--cert", "rpc"]);
    let added = desk.ok(&["service", "add", "rpc", "--protocol", "grpc", "--instance", &instance]);
    let token = added.get("token").and_then(|token| token.as_str()).unwrap_or_default().to_owned();
    desk.ok(&["service", "add", "dead", "--protocol", "grpc", "--no-auth", "--instance", &nobody]);
    for (name, prefix, service) in [
        ("test", "/grpc.testing.TestService", "rpc=1"),
        ("unimplemented", "/grpc.testing.UnimplementedService", "rpc=1"),
        ("web", "/web", "echo=1"),
        ("dead", "/dead", "dead=1"),
    ] {
        desk.ok(&["route", "add", name, "--host", AUTHORITY, "--path-prefix", prefix, "--service", service]);
    }
    let gateway = format!("{HOST}:{port}");
    let trust = if tls { trust.to_string_lossy().into_owned() } else { "-".to_owned() };
    let mut judge = stage.python("grpc/interop.py");
    judge.args([&instance, &gateway, AUTHORITY, &token, &trust]);
    // Its own chatter on stderr is of no interest; a crash of it is in the missing verdicts.
    judge.env("GRPC_VERBOSITY", "NONE");
    assert_all_pass(&verdicts(&mut judge), CASES);
}

#[test]
fn every_case_holds_over_tls() {
    run(HTTPS, true);
}

#[test]
fn every_case_holds_with_prior_knowledge() {
    run(HTTP, false);
}
