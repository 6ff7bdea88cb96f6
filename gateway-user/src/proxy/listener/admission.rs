//! Pure: tier (c), the verdict at accept. Always on, the authority where no kernel filter runs.

use std::net::IpAddr;

use crate::{
    observe::traffic::Refused,
    snapshot::{
        FilterPlan,
        filter::{Action, Reason},
    },
};

/// The verdict for a connection from `peer` to the listener with this id. `new` is false for one that is already
/// established: those of a draining entry stay.
pub(crate) fn judge(plan: &FilterPlan, listener: u16, peer: IpAddr, new: bool) -> Reason {
    let Some(listener) = plan.listeners.iter().find(|candidate| candidate.id == listener) else {
        return Reason::TableMissing;
    };
    if !listener.open {
        return Reason::Closed;
    }
    let covers = |draining: bool| {
        listener.entries.iter().any(|entry| entry.draining == draining && entry.cidr.contains(&peer))
    };
    match (covers(false), covers(true), new) {
        (true, _, _) => Reason::Allowed,
        (false, true, true) => Reason::DrainingNew,
        (false, true, false) => Reason::Draining,
        (false, false, _) => Reason::NotAllowed,
    }
}

/// The counter of a verdict that refuses.
pub(crate) fn refused(reason: Reason) -> Option<Refused> {
    match reason.action() {
        Action::Pass => None,
        Action::Drop => Some(match reason {
            Reason::NotAllowed => Refused::NotAllowed,
            Reason::Closed => Refused::Closed,
            Reason::DrainingNew => Refused::DrainingNew,
            Reason::NotListener
            | Reason::Allowed
            | Reason::Echo
            | Reason::Draining
            | Reason::WrongInterface
            | Reason::Fragment
            | Reason::Truncated
            | Reason::ExtChain
            | Reason::VlanDepth
            | Reason::Silent
            | Reason::TableMissing => Refused::Other,
        }),
    }
}

#[cfg(test)]
mod tests {

    use super::judge;
    use crate::{
        base::{Generation, Name},
        snapshot::filter::{Echo, FilterEntry, FilterListener, FilterPlan, Reason},
    };

    #[test]
    fn closed_lists_and_drains() {
        let entry = |cidr: &str, draining| FilterEntry { cidr: cidr.parse().unwrap(), id: 0, draining };
        let mut plan = FilterPlan {
            generation: Generation(1),
            listeners: vec![FilterListener {
                id: 7,
                name: Name::new("l").unwrap(),
                interface: "lo".into(),
                addresses: vec![],
                ports: vec![443],
                open: true,
                echo: Echo::Everybody,
                entries: vec![
                    entry("10.0.0.0/8", false),
                    entry("10.0.0.0/24", true),
                    entry("192.0.2.0/24", true),
                ],
            }],
        };
        let judge = |plan: &FilterPlan, peer: &str, new| judge(plan, 7, peer.parse().unwrap(), new);
        assert_eq!(judge(&plan, "10.0.0.1", true), Reason::Allowed);
        assert_eq!(judge(&plan, "192.0.2.1", true), Reason::DrainingNew);
        assert_eq!(judge(&plan, "192.0.2.1", false), Reason::Draining);
        assert_eq!(judge(&plan, "198.51.100.1", false), Reason::NotAllowed);
        assert_eq!(judge(&plan, "::1", true), Reason::NotAllowed);
        plan.listeners[0].open = false;
        assert_eq!(judge(&plan, "10.0.0.1", true), Reason::Closed);
        assert_eq!(
            super::judge(&FilterPlan::default(), 7, "10.0.0.1".parse().unwrap(), true),
            Reason::TableMissing
        );
    }
}
