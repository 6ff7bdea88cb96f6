//! The daemon after it became another user: three capabilities are enough.
#![expect(unsafe_code, reason = "only the bare system call changes the user of one thread")]

use std::collections::HashSet;

use caps::{CapSet, Capability};
use gateway_user::{
    kernel::{Filter, FilterMode, probe},
    observe::filter::FilterSource as _,
    snapshot::Subscriber as _,
};
use harness::{
    Net, Reach, reach,
    scratch::Scratch,
    topology::{LAN, PUBLIC, PUBLIC_V4},
    xdp,
};

use crate::policy::{config, listener, open, publish, snapshot};

const CLIENT: &str = "198.51.100.10/32";
const NOBODY: libc::uid_t = 65534;

/// Makes this thread `nobody` with the filter's capabilities and no others.
fn become_nobody() {
    nix::sys::prctl::set_keepcaps(true).unwrap();
    for call in [libc::SYS_setresgid, libc::SYS_setresuid] {
        // SAFETY: plain numbers; the C library's wrapper would change every thread of the process.
        assert_eq!(unsafe { libc::syscall(call, NOBODY, NOBODY, NOBODY) }, 0);
    }
    let kept: HashSet<_> = [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN].into();
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).unwrap();
    }
    assert!(std::fs::File::open("/etc/shadow").is_err());
}

#[test]
fn three_capabilities_are_enough() {
    let (net, scratch) = (Net::new(), Scratch::new());
    let mut program = None;
    for generation in 1..4 {
        net.gateway.within(|| {
            // As the daemon does: the lock is taken and the pins are handed over before root is given up.
            let mut filter = open(&scratch, "a");
            filter.give(NOBODY, NOBODY).unwrap();
            become_nobody();
            for number in 0..2 {
                // Load and attach, or adopt and swap; then an edit, an interface more, an interface less.
                publish(
                    &mut filter,
                    generation * 2 + number,
                    vec![listener(1, PUBLIC, &[CLIENT]), listener(2, LAN, &[])],
                );
                publish(&mut filter, generation * 2 + number, vec![listener(1, PUBLIC, &[CLIENT])]);
            }
            filter.poll();
            assert!(filter.status().warnings.is_empty());
            let missing: Vec<_> = probe(&config(&scratch, "a", FilterMode::Required))
                .into_iter()
                .filter(|check| !check.ok && check.check.starts_with("cap_"))
                .collect();
            assert_eq!(missing, []);
        });
        let attached = xdp::attached(&net.gateway, PUBLIC).unwrap().id;
        assert_ne!(program.replace(attached), Some(attached));
        assert_eq!(xdp::attached(&net.gateway, LAN), None);
        assert_eq!(reach(&net.client, (PUBLIC_V4, 443)), Reach::Refused);
        assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), Reach::Timeout);
    }
}

#[test]
fn without_capabilities_the_check_at_accept_remains() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        become_nobody();
        caps::clear(None, CapSet::Effective).unwrap();
        let refusal = Filter::open(config(&scratch, "a", FilterMode::Required)).map(drop);
        assert!(refusal.unwrap_err().remedy.unwrap().contains("root"));
        let mut filter = Filter::open(config(&scratch, "a", FilterMode::Auto)).unwrap();
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        assert_eq!(filter.status().interfaces[0].mode.name(), "accept");
        // Not that the pin directory cannot be made: what is missing is the privilege.
        assert!(filter.status().warnings[0].contains("needs CAP_BPF"), "{:?}", filter.status().warnings);
        let checks = probe(&config(&scratch, "a", FilterMode::Auto));
        assert!(checks.iter().any(|check| check.check == "cap_bpf" && !check.ok && check.cure.is_some()));
    });
    assert_eq!(xdp::attached(&net.gateway, PUBLIC), None);
}

/// Root in a container: the pin directory can be made, the tables cannot.
#[test]
fn root_without_capabilities_is_told_what_is_missing() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        for capability in [Capability::CAP_BPF, Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN] {
            caps::drop(None, CapSet::Effective, capability).unwrap();
        }
        let mut filter = open(&scratch, "a");
        let refusal = filter.stage(&snapshot(1, vec![listener(1, PUBLIC, &[CLIENT])])).unwrap_err();
        assert!(refusal.remedy.unwrap().contains("CAP_BPF"), "{}", refusal.message);

        let mut filter = Filter::open(config(&scratch, "b", FilterMode::Auto)).unwrap();
        publish(&mut filter, 1, vec![listener(1, PUBLIC, &[CLIENT])]);
        assert_eq!(filter.status().interfaces[0].mode.name(), "accept");
        assert!(filter.status().warnings[0].contains("CAP_BPF"));
    });
}
