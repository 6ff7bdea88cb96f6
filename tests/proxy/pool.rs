//! Instances: kept connections, turns, and what a dead one costs.

use harness::Upstream;

use crate::call::{Call, HTTP};

/// Many requests of one client use few connections to the instance.
#[test]
fn connections_to_an_instance_are_kept() {
    let call = Call::new();
    call.echo("/fixed").run().expect(200);
    for _ in 0..3 {
        let urls = vec![format!("{HTTP}/api/predict/echo/fixed"); 40];
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        call.echo("/fixed").with(&urls).with(&["--http1.1"]).run().expect(200);
    }
    let (requests, connections) = (call.upstream.requests(), call.upstream.connections());
    assert_eq!(requests, 1 + 3 * 41);
    // A worker keeps connections of its own; the kernel chooses the worker of each client connection.
    let workers = call.desk.ok(&["status"]).pointer("/workers").and_then(|all| all.as_array().map(Vec::len));
    assert!(
        connections <= workers.unwrap_or(1) as u64 + 1,
        "{connections} connections for {requests} requests"
    );
}

#[test]
fn instances_take_turns_and_a_dead_one_is_an_error_of_its_own() {
    let call = Call::new();
    let others = [call.desk.within(|| Upstream::local("two")), call.desk.within(|| Upstream::local("three"))];
    let instances = [call.upstream.instance(), others[0].instance(), others[1].instance()].join(",");
    call.desk.ok(&["service", "update", "echo", "--balance", "round_robin", "--instance", &instances]);
    let urls = vec![format!("{HTTP}/api/predict/echo/fixed"); 59];
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    call.echo("/fixed").with(&urls).run().expect(200);
    for (name, upstream) in [("one", &call.upstream), ("two", &others[0]), ("three", &others[1])] {
        let requests = upstream.requests();
        assert!((18..=22).contains(&requests), "{name} got {requests} of 60");
    }
    // Nobody at the only address: 502, JSON, and the next request is fine again.
    call.desk.ok(&["service", "update", "echo", "--instance", "127.0.0.1:9"]);
    let answer = call.echo("/fixed").run();
    assert_eq!(answer.status, 502, "{}", answer.framed);
    assert!(answer.header("x-gateway-error").is_some(), "{}", answer.framed);
    call.desk.ok(&["service", "update", "echo", "--instance", &call.upstream.instance()]);
    call.echo("/fixed").run().expect(200);
}

/// An instance that goes away and comes back: its kept connections are not trusted blindly.
#[test]
fn a_restarted_instance_costs_no_request() {
    let call = Call::new();
    call.echo("/fixed").run().expect(200);
    let port =
        call.upstream.instance().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let Call { desk, upstream, token } = call;
    drop(upstream);
    // Its threads notice within half a second.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let upstream = desk.within(|| Upstream::local_at("again", port));
    let call = Call { desk, upstream, token };
    for _ in 0..4 {
        assert_eq!(call.echo("/fixed").run().expect(200).header("x-instance"), Some("again"));
    }
}

/// A limit holds for all workers together.
#[test]
fn a_rate_is_shared_by_all_workers() {
    let call = Call::new();
    call.desk.ok(&["service", "update", "echo", "--qps", "10"]);
    let start = std::time::Instant::now();
    let mut admitted = 0_u32;
    let mut refused = 0_u32;
    while start.elapsed() < std::time::Duration::from_secs(2) {
        // A connection each, so that every worker takes part.
        let answer = call.echo("/fixed").run();
        match answer.status {
            200 => admitted += 1,
            429 => {
                refused += 1;
                assert!(answer.header("retry-after").is_some(), "{}", answer.framed);
            }
            _ => panic!("{}", answer.framed),
        }
    }
    // Two seconds of 10, and a burst of at most a second's worth at the start.
    let seconds = start.elapsed().as_secs_f64();
    let most = 10.0 * (seconds + 1.0) + 2.0;
    assert!(f64::from(admitted) <= most && admitted >= 10, "{admitted} admitted in {seconds:.1} s");
    assert!(refused > 0, "{admitted} requests in {seconds:.1} s never met the limit");
}
