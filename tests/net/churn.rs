//! PA-10: the allowlist is replaced a thousand times, and routes change, while an allowed client works: not one request
//! fails, and nobody else gets in between two lists.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use harness::{
    Gateway,
    behind::Behind,
    flood::Flood,
    frame::{self, Link},
    load::{Load, Target},
    topology::GHOST_V4,
    wait,
};

use super::site::{HOST, HTTPS_V4, Site};

const REPLACEMENTS: usize = 1000;

/// One request on the control socket; a thousand processes would measure the machine, not the gateway.
fn control(gateway: &Gateway, method: &str, path: &str, body: &str) {
    let mut stream = UnixStream::connect(gateway.socket()).expect("control socket");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 2"), "{method} {path} {body}\n{answer}");
}

#[test]
fn pa_10_a_thousand_replaced_lists_fail_no_request() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    site.gateway
        .cli(&[
            "route",
            "add",
            "steady",
            "--host",
            HOST,
            "--path-prefix",
            "/api/predict",
            "--service",
            "echo",
        ])
        .ok();
    let target = Target {
        address: HTTPS_V4,
        host: HOST.to_owned(),
        path: "/api/predict/echo/fixed".to_owned(),
        token: served.token.clone(),
        authority: served.authority.pem.clone(),
    };
    let load = Load::start(&site.net.client, &target, 4);
    wait::until("the load to run", || (load.requests() > 50).then_some(()));
    // Somebody who is on no list tries all the time: no moment between two generations may let them in.
    let behind = Behind::install(&site.net.gateway);
    let syn = |port: u16| frame::syn(&Link::default(), (GHOST_V4, 2000 + port).into(), HTTPS_V4);
    let flood = Flood::start(site.net.attacker(), (0..256).map(syn).collect(), 3000);
    let start = Instant::now();
    let first = site.gateway.generation();
    for edit in 0..REPLACEMENTS {
        // Every list has the client in it, as a host or within a net, among others that change.
        let client = if edit % 2 == 0 { "198.51.100.10/32" } else { "198.51.100.0/28" };
        let list = format!(r#"{{"cidrs":"203.0.113.{},{client},192.0.2.0/24"}}"#, edit % 200);
        control(&site.gateway, "PUT", "/v1/listeners/public/allow", &list);
        if edit % 10 != 0 {
            continue;
        }
        let route = format!(
            r#"{{"name":"moving","host":"moving.example.org","path_prefix":"/{edit}","services":[{{"service":"echo","weight":1}}]}}"#
        );
        control(&site.gateway, "POST", "/v1/routes", &route);
        control(&site.gateway, "DELETE", "/v1/routes/moving", "");
    }
    let elapsed = start.elapsed();
    let made = site.gateway.generation() - first;
    let report = load.stop();
    let sent = flood.stop();
    println!("{sent} SYNs of an outsider meanwhile");
    assert_eq!((behind.packets("ghost_pub0"), sent > 10_000), (0, true), "{sent} SYNs of an outsider");
    println!(
        "{made} edits in {elapsed:?}, {} requests meanwhile, {} failures",
        report.requests, report.failures
    );
    assert_eq!(report.failures, 0, "{report:?}");
    assert!(made >= REPLACEMENTS as u64, "{made} edits");
    assert!(report.requests > 200, "{report:?}");
}
