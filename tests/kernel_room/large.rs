//! Large lists in the kernel: written once, shared by generations, taken away when nobody uses them.

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use gateway_user::{
    observe::filter::FilterSource as _,
    snapshot::{
        Subscriber as _,
        filter::{FilterListener, LargeList},
    },
};
use harness::{
    Net, Reach, reach,
    scratch::Scratch,
    topology::{PUBLIC, PUBLIC_V4, PUBLIC_V6},
};

use crate::policy::{listener, open, publish, snapshot};

const PASSES: Reach = Reach::Refused;
const DROPPED: Reach = Reach::Timeout;

/// `count` networks of 20.0.0.0/6, every other /28 of them, with `more`.
fn list(count: u32, more: &[&str]) -> Arc<LargeList> {
    let nets = (0..count)
        .map(|index| ipnet::Ipv4Net::new(Ipv4Addr::from_bits(0x1400_0000 + index * 32), 28).unwrap().into());
    Arc::new(LargeList::new(nets.chain(more.iter().map(|cidr| cidr.parse().unwrap())).collect()))
}

fn with(large: &Arc<LargeList>) -> FilterListener {
    let mut listener = listener(1, PUBLIC, &[]);
    listener.addresses.push(gateway_user::snapshot::filter::ListenAddress::Ip(PUBLIC_V6.into()));
    FilterListener { large: Some(large.clone()), ..listener }
}

#[test]
fn a_large_list_of_every_size_judges_and_outlives_the_daemon() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        for (generation, count) in [(1, 1_000), (3, 10_000), (5, 100_000), (7, 1_000_000)] {
            let begun = Instant::now();
            let client = list(count, &["198.51.100.10/32", "2001:db8:100::10/128"]);
            publish(&mut filter, generation, vec![with(&client)]);
            println!(
                "{count} entries: made and loaded in {:?}, {} KiB",
                begun.elapsed(),
                client.bytes() / 1024
            );
            assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), PASSES, "{count}");
            assert_eq!(reach(&net.client, (PUBLIC_V6, 443)), PASSES, "{count}");
            assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), DROPPED, "{count}");
            assert_eq!(reach(&net.outsider, (PUBLIC_V6, 443)), DROPPED, "{count}");
            // The next generation has the same list, and a new one is aside and forgotten again.
            let begun = Instant::now();
            publish(&mut filter, generation + 1, vec![with(&client)]);
            println!("the same list again: {:?}", begun.elapsed());
            filter.stage(&snapshot(generation + 2, vec![with(&list(count, &["198.51.100.66/32"]))])).unwrap();
            filter.abandon();
            assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), PASSES, "{count}");
            assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), DROPPED, "{count}");
        }
        let report = filter.report();
        let allowed = report.listeners[0].reasons.iter().find(|counted| counted.reason == "allowed");
        assert!(allowed.unwrap().count.packets > 0);

        // The next daemon finds the list in force, stages another beside it, and replaces it.
        drop(filter);
        let mut filter = open(&scratch, "a");
        let outsider = list(3_000, &["198.51.100.66/32"]);
        filter.stage(&snapshot(20, vec![with(&outsider)])).unwrap();
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), PASSES);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), DROPPED);
        filter.commit().unwrap();
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), DROPPED);
        assert_eq!(reach(&net.client, (PUBLIC_V6, 443)), DROPPED);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), PASSES);
    });
}
