//! Traffic by channel: public, private, and apart from it what comes from another region.

use harness::topology::PUBLIC_V4;
use serde_json::Value;

use super::{Private, add, call};

/// The figure `key` of a listener, and its channel.
#[track_caller]
fn figures(stats: &Value, listener: &str) -> (String, u64) {
    let rows = stats["listeners"].as_array().cloned().unwrap_or_default();
    let row = rows.into_iter().find(|row| row["name"] == listener);
    let row = row.unwrap_or_else(|| panic!("no figures of {listener} in {stats}"));
    let channel = row["channel"].as_str().unwrap_or_default().to_owned();
    (channel, row["bytes_out"].as_u64().unwrap_or_default())
}

/// XR-3: what a network of another region transfers is metered under a label of its own.
#[test]
fn xr_3_remote_traffic_is_metered_apart() {
    let private = Private::bare();
    private.site.add_public(&["--open"]);
    private.site.allow("198.51.100.10");
    private.attach("red", &private.red);
    let address = private.blue.address();
    let mut words = add("blue", private.blue.interface, &address, "z");
    words.extend(["--region", "eu-2"]);
    private.site.gateway.cli(&words).ok();
    let service = private.serve("echo", &[]);

    let ask = |from, at, count: u64| {
        for _ in 0..count {
            let answer = call(from, at, "echo", "/seed", &service.token).run();
            assert_eq!(answer.expect(200).body, "True");
        }
    };
    ask(&private.site.net.client, (PUBLIC_V4.into(), 80), 1);
    ask(&private.red.i, (std::net::IpAddr::V4(private.red.vip()), 80), 2);
    ask(&private.blue.i, (std::net::IpAddr::V4(private.blue.vip()), 80), 3);

    let body = "True".len() as u64;
    let stats = harness::wait::until("the last request to be counted", || {
        let stats = private.site.gateway.cli(&["stats"]).ok();
        (figures(&stats, "vpc:blue").1 == 3 * body).then_some(stats)
    });
    assert_eq!(figures(&stats, "public"), ("public".to_owned(), body));
    assert_eq!(figures(&stats, "vpc:red"), ("private".to_owned(), 2 * body));
    assert_eq!(figures(&stats, "vpc:blue"), ("remote".to_owned(), 3 * body));
    let wire = |listener: &str, channel: &str| {
        let rows = stats["filter"].as_array().cloned().unwrap_or_default();
        let mine = rows.into_iter().filter(|row| row["listener"] == listener && row["reason"] == "allowed");
        let mine: Vec<Value> = mine.collect();
        assert!(!mine.is_empty() && mine.iter().all(|row| row["channel"] == channel), "{listener}: {mine:?}");
        mine.iter().filter_map(|row| row["bytes"].as_u64()).sum::<u64>()
    };
    for (listener, channel) in [("public", "public"), ("vpc:red", "private"), ("vpc:blue", "remote")] {
        assert!(wire(listener, channel) > body, "{listener}");
    }
}
