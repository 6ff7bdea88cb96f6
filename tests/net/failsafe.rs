//! Whatever becomes of the kernel filter, an outsider gets nothing. Each test is a row of the table in docs/filter.md.

use std::time::Duration;

use harness::{
    Reach, reach,
    topology::{LAN_V4, PUBLIC},
    wait, xdp,
};
use serde_json::Value;

use super::site::{HTTPS_V4, Site};

/// Time for what the daemon does once a second, on a busy machine.
const UPKEEP: Duration = Duration::from_secs(15);
const LAN_HTTPS: (std::net::Ipv4Addr, u16) = (LAN_V4, 443);

/// The outsider gets no answer from the listener: dropped, refused, or cut at accept.
#[track_caller]
fn assert_closed(site: &Site, when: &str) {
    let outsider = reach(&site.net.outsider, HTTPS_V4);
    assert!(matches!(outsider, Reach::Timeout | Reach::Refused | Reach::Cut), "{when}: {outsider:?}");
}

/// The row of `status` with this value under this key.
#[track_caller]
fn row(site: &Site, table: &str, key: &str, value: &str) -> Value {
    let status = site.gateway.cli(&["status"]).ok();
    let rows = status[table].as_array().unwrap_or_else(|| panic!("no {table} in {status}"));
    rows.iter().find(|row| row[key] == value).unwrap_or_else(|| panic!("no {value}: {status}")).clone()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    wait::until(what, UPKEEP, || condition().then_some(()));
}

fn lan(site: &Site) {
    let words = ["listener", "add", "lan", "--exposure", "public", "--interface", "lan0"];
    site.gateway.cli(&[&words[..], &["--address", "10.7.0.1", "--open"]].concat()).ok();
    site.gateway.cli(&["allow", "add", "lan", "10.7.0.10"]).ok();
}

/// At a start, an interface that cannot be guarded fails its own listeners, which are not bound; the others serve.
#[test]
fn fs_1_no_attach_at_start_fails_that_interface_alone() {
    let mut site = Site::open();
    site.allow("198.51.100.10");
    lan(&site);
    assert_eq!(reach(&site.net.office, LAN_HTTPS), Reach::Open);
    site.gateway.stop();
    site.gateway.detach().success();
    let pin = site.gateway.scratch().join("bpf/foreign");
    xdp::attach_foreign(&site.net.gateway, PUBLIC, &pin);
    site.gateway.run();

    assert_eq!(reach(&site.net.office, LAN_HTTPS), Reach::Open, "the other interface serves");
    assert_closed(&site, "foreign program at start");
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Refused, "not bound");
    let public = row(&site, "listeners", "listener", "public");
    assert_eq!(public["state"], "failed", "{public}");
    let detail = public["detail"].as_str().expect("a detail");
    assert!(detail.contains("foreign") && detail.contains("xdp off"), "{detail}");
    assert_eq!(row(&site, "filter", "interface", PUBLIC)["mode"], "detached");

    // Edits go on, but none may add a listener there.
    site.gateway.cli(&["allow", "add", "lan", "10.7.0.11"]).ok();
    let words =
        ["listener", "add", "second", "--exposure", "public", "--interface", PUBLIC, "--https", "8443"];
    let error =
        site.gateway.cli(&[&words[..], &["--address", "198.51.100.1", "--no-http"]].concat()).refused();
    assert_eq!(error["code"], "filter_foreign_program", "{error}");

    xdp::detach_foreign(&site.net.gateway, PUBLIC);
    until("the listener", || reach(&site.net.client, HTTPS_V4) == Reach::Open);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    assert_eq!(row(&site, "listeners", "listener", "public")["state"], "listening");
}
