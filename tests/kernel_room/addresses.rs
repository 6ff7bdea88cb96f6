//! Addresses that the gateway holds on interfaces itself.

use std::{path::Path, sync::Arc};

use gateway_user::{
    base::Generation,
    kernel::{Addresses, release},
    observe::address::AddressState,
    snapshot::{OwnedAddress, Snapshot, Subscriber as _},
};
use harness::{
    Net,
    netns::NetNs,
    scratch::Scratch,
    topology::{LAN, PUBLIC},
};

const V4: &str = "10.77.0.5/24";
const V6: &str = "fd77::5/64";

fn snapshot(generation: u64, addresses: &[(&str, &str)]) -> Arc<Snapshot> {
    let mut addresses: Vec<_> = addresses
        .iter()
        .map(|(interface, address)| OwnedAddress {
            interface: (*interface).to_owned(),
            address: address.parse().unwrap(),
        })
        .collect();
    addresses.sort();
    Arc::new(Snapshot { generation: Generation(generation), addresses, ..Snapshot::default() })
}

#[track_caller]
fn publish(held: &mut Addresses, generation: u64, addresses: &[(&str, &str)]) {
    held.stage(&snapshot(generation, addresses)).unwrap();
    held.commit().unwrap();
    assert_eq!(held.generation(), Generation(generation));
}

fn states(held: &Addresses) -> Vec<AddressState> {
    held.status().into_iter().map(|status| status.state).collect()
}

/// Whether the interface has the address, as `ip` says.
fn has(namespace: &NetNs, interface: &str, address: &str) -> bool {
    namespace.ip(&["-o", "addr", "show", "dev", interface]).contains(&format!(" {address} "))
}

fn state(scratch: &Scratch) -> &Path {
    scratch.path()
}

#[test]
fn addresses_come_with_the_configuration_and_go_with_it() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut held = Addresses::open(state(&scratch)).unwrap();
        publish(&mut held, 1, &[]);
        publish(&mut held, 2, &[(LAN, V4), (LAN, V6), (PUBLIC, V4)]);
        assert_eq!(states(&held), [AddressState::Held; 3]);
        for (interface, address) in [(LAN, V4), (LAN, V6), (PUBLIC, V4)] {
            assert!(has(&net.gateway, interface, address), "{address} on {interface}");
        }
        let shown = net.gateway.ip(&["addr", "show", "dev", LAN]);
        assert!(!shown.contains("tentative"), "{shown}");

        // An abandoned change is none.
        held.stage(&snapshot(3, &[])).unwrap();
        held.abandon();
        assert!(has(&net.gateway, LAN, V4));
        // Another prefix of the same address.
        publish(&mut held, 3, &[(LAN, "10.77.0.5/25"), (LAN, "fd77::5/96")]);
        assert!(has(&net.gateway, LAN, "10.77.0.5/25") && !has(&net.gateway, LAN, V4));
        assert!(has(&net.gateway, LAN, "fd77::5/96") && !has(&net.gateway, LAN, V6));
        assert!(!has(&net.gateway, PUBLIC, V4));
        publish(&mut held, 4, &[]);
        assert!(!has(&net.gateway, LAN, "10.77.0.5/25") && !has(&net.gateway, LAN, "fd77::5/96"));
    });
}

#[test]
fn the_next_daemon_takes_them_over_and_removes_what_is_stale() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut held = Addresses::open(state(&scratch)).unwrap();
        publish(&mut held, 1, &[(LAN, V4), (LAN, V6)]);
        // As after kill -9: nothing was tidied up.
        std::mem::forget(held);
        assert!(has(&net.gateway, LAN, V4) && has(&net.gateway, LAN, V6));

        let mut held = Addresses::open(state(&scratch)).unwrap();
        assert!(has(&net.gateway, LAN, V4), "opening changes nothing");
        publish(&mut held, 1, &[(LAN, V4)]);
        assert_eq!(states(&held), [AddressState::Held]);
        assert!(has(&net.gateway, LAN, V4) && !has(&net.gateway, LAN, V6));

        drop(held);
        assert_eq!(release(state(&scratch), Some(PUBLIC)).unwrap(), [""; 0]);
        assert_eq!(release(state(&scratch), None).unwrap(), [format!("{V4} on {LAN}")]);
        assert!(!has(&net.gateway, LAN, V4));
        assert_eq!(release(state(&scratch), None).unwrap(), [""; 0]);
    });
}

#[test]
fn what_somebody_else_added_is_never_removed() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.ip(&["addr", "add", V4, "dev", LAN]);
    net.gateway.within(|| {
        let mut held = Addresses::open(state(&scratch)).unwrap();
        publish(&mut held, 1, &[]);
        let refusal = held.stage(&snapshot(2, &[(LAN, V6), (LAN, V4)])).unwrap_err();
        assert_eq!((refusal.code.as_str(), refusal.value.as_deref()), ("address_taken", Some(V4)));
        assert!(refusal.remedy.unwrap().contains("ip addr del"));
        assert!(!has(&net.gateway, LAN, V6), "refused whole");
        // The same address in another network is another address.
        publish(&mut held, 2, &[(PUBLIC, V4)]);
        publish(&mut held, 3, &[]);
        assert!(has(&net.gateway, LAN, V4) && !has(&net.gateway, PUBLIC, V4));

        // A daemon that starts does not stop for it.
        drop(held);
        let mut held = Addresses::open(state(&scratch)).unwrap();
        publish(&mut held, 3, &[(LAN, V4)]);
        assert_eq!(states(&held), [AddressState::Foreign]);
        publish(&mut held, 4, &[]);
        assert!(has(&net.gateway, LAN, V4));

        // Ours, removed and added by hand: theirs now.
        publish(&mut held, 5, &[(PUBLIC, V4)]);
        net.gateway.ip(&["addr", "del", V4, "dev", PUBLIC]);
        net.gateway.ip(&["addr", "add", V4, "dev", PUBLIC]);
        publish(&mut held, 6, &[]);
        assert!(has(&net.gateway, PUBLIC, V4));
    });
}

#[test]
fn they_come_back_with_their_interface_and_after_a_flush() {
    let (net, scratch) = (Net::new(), Scratch::new());
    let plug = || {
        net.gateway.ip_batch(&format!(
            "link add gone0 type veth peer name far0 netns {}\nlink set gone0 up\n",
            net.office.name()
        ));
    };
    net.gateway.within(|| {
        let mut held = Addresses::open(state(&scratch)).unwrap();
        publish(&mut held, 1, &[("gone0", V4), ("gone0", V6)]);
        assert_eq!(states(&held), [AddressState::Waiting; 2]);
        assert!(!held.refresh());
        for _ in 0..2 {
            plug();
            assert!(held.refresh());
            assert_eq!(states(&held), [AddressState::Held; 2]);
            assert!(has(&net.gateway, "gone0", V4) && has(&net.gateway, "gone0", V6));
            assert!(!held.refresh(), "settled");
            net.gateway.ip(&["addr", "flush", "dev", "gone0", "scope", "global"]);
            held.refresh();
            assert!(has(&net.gateway, "gone0", V4) && has(&net.gateway, "gone0", V6));
            // A renamed interface is another one; what was ours there goes.
            net.gateway.ip(&["link", "set", "gone0", "down"]);
            net.gateway.ip(&["link", "set", "gone0", "name", "else0"]);
            assert!(held.refresh());
            assert_eq!(states(&held), [AddressState::Waiting; 2]);
            assert!(!has(&net.gateway, "else0", V4) && !has(&net.gateway, "else0", V6));
            net.gateway.ip(&["link", "del", "else0"]);
            held.refresh();
        }
    });
}

#[test]
fn without_the_privilege_an_edit_is_refused_and_a_start_is_not() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut held = Addresses::open(state(&scratch)).unwrap();
        publish(&mut held, 1, &[]);
        for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
            caps::drop(None, set, caps::Capability::CAP_NET_ADMIN).unwrap();
        }
        let refusal = held.stage(&snapshot(2, &[(LAN, V4)])).unwrap_err();
        assert_eq!(refusal.code, "permission_denied");
        assert!(refusal.remedy.unwrap().contains("CAP_NET_ADMIN"));
        drop(held);
        let mut held = Addresses::open(state(&scratch)).unwrap();
        publish(&mut held, 2, &[(LAN, V4)]);
        assert_eq!(states(&held), [AddressState::Failed]);
        assert!(held.status()[0].detail.as_ref().unwrap().contains("CAP_NET_ADMIN"));
        assert!(!has(&net.gateway, LAN, V4));
    });
}
