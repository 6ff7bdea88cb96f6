//! Port marks: whatever is done to the policy, to the daemon or to the object, no port of a listener is without its mark.

use std::{collections::BTreeSet, fs, path::PathBuf};

use aya::{
    EbpfLoader,
    maps::{Array, Map, MapData},
};
use gateway_common::table::{PortMarks, port_index, port_mark};
use gateway_user::{
    observe::filter::FilterSource as _,
    snapshot::{Subscriber as _, filter::FilterListener},
};
use harness::{
    Net, Reach, reach,
    scratch::Scratch,
    topology::{PUBLIC, PUBLIC_V4},
};

use crate::policy::{listener, open, pins, publish, snapshot};

const CLIENT: &str = "198.51.100.10/32";

/// The one listener, which lets the client in at `ports`.
fn at(ports: &[u16]) -> Vec<FilterListener> {
    vec![FilterListener { ports: ports.to_vec(), ..listener(1, PUBLIC, &[CLIENT]) }]
}

/// The only directory of tables.
fn tables(scratch: &Scratch) -> PathBuf {
    let mut layouts = fs::read_dir(pins(scratch, "a").join("maps")).unwrap();
    layouts.next().unwrap().unwrap().path()
}

/// The ports that are marked in the kernel.
fn marked(scratch: &Scratch) -> BTreeSet<u16> {
    let map = Map::Array(MapData::from_pin(tables(scratch).join("MARKS")).unwrap());
    let marks: PortMarks = Array::try_from(map).unwrap().get(&0, 0).unwrap();
    let is_marked = |port: &u16| {
        let (word, mark) = port_mark(port_index(*port));
        marks.get(word as usize).is_some_and(|marks| marks & mark != 0)
    };
    (0..=u16::MAX).filter(is_marked).collect()
}

#[track_caller]
fn guarded(net: &Net, port: u16) {
    assert_eq!(reach(&net.client, (PUBLIC_V4, port)), Reach::Refused, "the client passes");
    assert_eq!(reach(&net.outsider, (PUBLIC_V4, port)), Reach::Timeout, "the outsider does not");
}

#[test]
fn ports_are_marked_before_they_are_guarded_and_until_they_are_not() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, at(&[443]));
        assert_eq!(marked(&scratch), [443].into());
        guarded(&net, 443);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 80)), Reach::Refused, "a port of nobody");

        filter.stage(&snapshot(2, at(&[80, 65535]))).unwrap();
        assert_eq!(marked(&scratch), [80, 443, 65535].into(), "both while nothing is decided");
        guarded(&net, 443);
        filter.abandon();
        assert_eq!(marked(&scratch), [443].into());

        publish(&mut filter, 2, at(&[80, 65535]));
        assert_eq!(marked(&scratch), [80, 65535].into());
        guarded(&net, 80);
        guarded(&net, 65535);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), Reach::Refused, "nobody's any more");

        // A program that is loaded later, here the one that explains, takes the marks as they are.
        let verdict = filter.judge(PUBLIC, None, "192.0.2.1".parse().unwrap(), (PUBLIC_V4, 80).into());
        assert_eq!(verdict.unwrap().reason.name(), "not_allowed");
        assert_eq!(marked(&scratch), [80, 65535].into());
    });
}

#[test]
fn no_mark_is_missing_after_a_daemon_that_died_in_between() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, at(&[443]));
        filter.stage(&snapshot(2, at(&[80]))).unwrap();
        // Without a word: neither commits nor abandons.
        drop(filter);
        assert_eq!(marked(&scratch), [80, 443].into());
        guarded(&net, 443);

        // The next one does not know what is in force before it has published.
        let mut filter = open(&scratch, "a");
        filter.stage(&snapshot(1, at(&[8443]))).unwrap();
        assert_eq!(marked(&scratch), [80, 443, 8443].into());
        filter.abandon();
        assert!(marked(&scratch).contains(&443));
        guarded(&net, 443);
        publish(&mut filter, 1, at(&[443]));
        assert_eq!(marked(&scratch), [443].into());
    });
}

#[test]
fn whoever_loads_the_object_without_the_marks_marks_every_port() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, at(&[443]));
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/gateway-ebpf");
        let object = std::env::var_os("GATEWAY_EBPF_OBJECT").unwrap_or_else(|| default.into());
        let marks = tables(&scratch).join("MARKS");
        EbpfLoader::new().map_pin_path(".data.MARKS", marks).load(&fs::read(object).unwrap()).unwrap();
        assert_eq!(marked(&scratch).len(), 65536);
        guarded(&net, 443);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 80)), Reach::Refused, "the port table knows");
        publish(&mut filter, 2, at(&[443]));
        assert_eq!(marked(&scratch), [443].into());
    });
}
