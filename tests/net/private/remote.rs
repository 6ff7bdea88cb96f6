//! Networks of another region: they need a way between the networks, and they have to be associated with the gateway;
//! each alone is not enough, and their traffic is metered apart.

use std::{net::SocketAddr, time::Duration};

use harness::{
    Reach, client, curl,
    private::{FAR, FAR_HOST, FAR_VIP, Remote},
    reach, wait,
};
use serde_json::Value;

use super::{Private, add, call};

const ENDPOINT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(FAR_VIP), 443);

/// Associates the remote site's network with the gateway.
#[track_caller]
fn associate(private: &Private) -> Value {
    let (address, probe) = (format!("{FAR_VIP}/24"), FAR_HOST.to_string());
    let mut words = add("far", FAR, &address, "i");
    words.extend(["--region", "eu-2", "--probe", &probe]);
    private.site.gateway.cli(&words).ok()
}

fn state(private: &Private) -> String {
    let shown = private.site.gateway.cli(&["vpc", "show", "far"]).ok();
    shown["state"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn wait_for_state(private: &Private, wanted: &str) {
    wait::until(&format!("the network to be {wanted}"), || (state(private) == wanted).then_some(()));
}

/// XR-1: a tunnel alone gets nowhere; associated, it is served; associated without a way there it is `unreachable`.
#[test]
fn xr_1_association_and_reachability_are_both_needed() {
    let private = Private::bare();
    let remote = Remote::lay(&private.site.net);
    let service = private.serve("echo", &[]);
    // The networks are joined, which is all that the remote site knows.
    private.site.net.gateway.ip(&["addr", "add", "10.5.0.2/24", "dev", FAR]);
    assert!(client::ping(&remote.site, "10.5.0.2".parse().expect("an address")), "the tunnel does not carry");
    assert_ne!(reach(&remote.site, ENDPOINT), Reach::Open);

    associate(&private);
    wait_for_state(&private, "running");
    wait::until("the remote site to get in", || (reach(&remote.site, ENDPOINT) == Reach::Open).then_some(()));
    let answer = call(&remote.site, (FAR_VIP, 80), "echo", "/seed", &service.token).run();
    assert_eq!(answer.expect(200).body, "True");

    // The way breaks and comes back.
    remote.connect(false);
    wait_for_state(&private, "unreachable");
    let status = private.site.gateway.cli(&["status"]).ok();
    assert!(status.to_string().contains("unreachable"), "{status}");
    remote.connect(true);
    wait_for_state(&private, "running");
    assert_eq!(reach(&remote.site, ENDPOINT), Reach::Open);

    // Associated while there is no way: never `running`.
    private.site.gateway.cli(&["vpc", "delete", "far"]).ok();
    remote.connect(false);
    std::thread::sleep(Duration::from_secs(2));
    associate(&private);
    for _ in 0..5 {
        assert_eq!(state(&private), "unreachable");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// XR-2: connectivity without association, association without connectivity, both; and what the association of one
/// network is to another that has a way, too.
#[test]
fn xr_2_connectivity_alone_or_association_alone_is_not_enough() {
    let private = Private::bare();
    let remote = Remote::lay(&private.site.net);
    // Another network's association does not serve the remote one, although packets find their way.
    private.attach("red", &private.red);
    private.site.net.gateway.ip(&["addr", "add", "10.5.0.2/24", "dev", FAR]);
    private.route_to(&remote.site, "10.5.0.2".parse().expect("an address"), &private.red);
    for (connected, associated, served) in
        [(true, false, false), (false, true, false), (true, true, true), (false, false, false)]
    {
        remote.connect(connected);
        let is = private.site.gateway.cli(&["vpc", "show", "far"]).code == 0;
        if associated && !is {
            associate(&private);
        } else if is && !associated {
            private.site.gateway.cli(&["vpc", "delete", "far"]).ok();
        }
        let case = format!("connected {connected}, associated {associated}");
        if served {
            wait::until(&case, || (reach(&remote.site, ENDPOINT) == Reach::Open).then_some(()));
        } else {
            let seen = reach(&remote.site, ENDPOINT);
            assert!(!matches!(seen, Reach::Open | Reach::Cut), "{case}: {seen:?}");
        }
        let seen = reach(&remote.site, (private.red.vip(), 443));
        assert!(!matches!(seen, Reach::Open | Reach::Cut), "the other network's endpoint, {case}: {seen:?}");
    }
}

/// XR-3: what a remote network sends and gets is metered under `remote`, apart from private and public traffic.
#[test]
fn xr_3_remote_traffic_is_metered_under_its_own_label() {
    let private = Private::attached();
    let remote = Remote::lay(&private.site.net);
    let service = private.serve("echo", &[]);
    private.site.allow("198.51.100.10");
    associate(&private);
    let ask = |from, endpoint: SocketAddr, times: usize| {
        for _ in 0..times {
            call(from, endpoint, "echo", "/fixed", &service.token).run().expect(200);
        }
    };
    wait::until("the remote site to get in", || (reach(&remote.site, ENDPOINT) == Reach::Open).then_some(()));
    // 128 bytes an answer.
    ask(&remote.site, (FAR_VIP, 80).into(), 5);
    ask(&private.red.i, (private.red.vip(), 80).into(), 3);
    ask(&private.site.net.client, (harness::topology::PUBLIC_V4, 80).into(), 2);

    let stats = private.site.gateway.cli(&["stats"]).ok();
    let listeners = stats["listeners"].as_array().cloned().unwrap_or_default();
    let bytes = |name: &str, channel: &str| {
        let found = listeners.iter().find(|one| one["name"] == name || one["listener"] == name);
        let found = found.unwrap_or_else(|| panic!("no listener {name} in {stats}"));
        assert_eq!(found["channel"], channel, "{found}");
        found["bytes_out"].as_u64().expect("a number")
    };
    assert_eq!(bytes("vpc:far", "remote"), 5 * 128);
    assert_eq!(bytes("vpc:red", "private"), 3 * 128);
    assert_eq!(bytes("public", "public"), 2 * 128);

    let metrics = curl(&private.site.net.gateway, "http://127.0.0.1:9145/metrics").run();
    let metrics = &metrics.expect(200).body;
    for (listener, channel) in [("vpc:far", "remote"), ("vpc:red", "private"), ("public", "public")] {
        let (listener, channel) = (format!("listener=\"{listener}\""), format!("channel=\"{channel}\""));
        let found = metrics.lines().any(|line| {
            line.starts_with("gateway_listener_response_bytes")
                && line.contains(&listener)
                && line.contains(&channel)
        });
        assert!(found, "{listener} {channel} is missing in\n{metrics}");
    }
}
