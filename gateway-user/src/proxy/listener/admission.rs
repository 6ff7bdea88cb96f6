//! Pure: tier (c), the verdict at accept. Always on, the authority where no kernel filter runs. It is the same decision
//! over the same tables as the kernel's.

use std::net::{IpAddr, SocketAddr};

use crate::{
    observe::traffic::Refused,
    snapshot::filter::{FilterTables, Reason, address},
};

/// Who is connected to what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow<'a> {
    /// The interface that the socket is bound to.
    pub(crate) interface: &'a str,
    pub(crate) peer: IpAddr,
    pub(crate) local: SocketAddr,
    /// False for a connection that is established: those of a draining entry stay.
    pub(crate) new: bool,
}

/// Why the flow is refused; `None`: it is admitted.
pub(crate) fn refused(tables: &FilterTables, flow: Flow<'_>) -> Option<Refused> {
    let local = SocketAddr::new(flow.local.ip().to_canonical(), flow.local.port());
    let mut packet = address::connection(flow.peer.to_canonical(), local, 0);
    packet.syn = flow.new;
    match tables.judge(flow.interface, &packet).reason {
        Reason::Allowed | Reason::Draining | Reason::Monitored => None,
        Reason::NotAllowed => Some(Refused::NotAllowed),
        Reason::Closed => Some(Refused::Closed),
        Reason::DrainingNew => Some(Refused::DrainingNew),
        // A socket of ours that the tables do not know passes in the kernel, where it is none of the filter's business.
        // Here it means that policy and sockets disagree, and that is never an admission.
        Reason::NotListener
        | Reason::Echo
        | Reason::WrongInterface
        | Reason::Fragment
        | Reason::Truncated
        | Reason::ExtChain
        | Reason::VlanDepth
        | Reason::Silent
        | Reason::TableMissing
        | Reason::ListMissing
        | Reason::SynBudget
        | Reason::Banned => Some(Refused::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::{Flow, refused};
    use crate::{
        base::{Generation, Name},
        observe::traffic::Refused,
        snapshot::filter::{
            Echo, FilterEntry, FilterListener, FilterPlan, FilterTables, ListenAddress, ListenerOptions,
        },
    };

    #[test]
    fn closed_lists_and_drains() {
        let entry = |cidr: &str, draining| FilterEntry { cidr: cidr.parse().unwrap(), id: 0, draining };
        let mut plan = FilterPlan {
            generation: Generation(1),
            listeners: vec![FilterListener {
                large: None,
                id: 7,
                name: Name::new("l").unwrap(),
                interface: "eth0".into(),
                addresses: vec![ListenAddress::Any],
                ports: vec![443],
                open: true,
                echo: Echo::Everybody,
                options: ListenerOptions::default(),
                entries: vec![
                    entry("10.0.0.0/8", false),
                    entry("10.0.0.0/24", true),
                    entry("192.0.2.0/24", true),
                ],
            }],
        };
        let judge = |plan: &FilterPlan, peer: &str, new| {
            let local = if peer.contains('.') { "10.9.9.9:443" } else { "[2001:db8::1]:443" };
            let flow =
                Flow { interface: "eth0", peer: peer.parse().unwrap(), local: local.parse().unwrap(), new };
            refused(&FilterTables::unresolved(plan).unwrap(), flow)
        };
        assert_eq!(judge(&plan, "10.0.0.1", true), None);
        assert_eq!(judge(&plan, "192.0.2.1", true), Some(Refused::DrainingNew));
        assert_eq!(judge(&plan, "192.0.2.1", false), None);
        assert_eq!(judge(&plan, "198.51.100.1", false), Some(Refused::NotAllowed));
        assert_eq!(judge(&plan, "2001:db8::2", true), Some(Refused::NotAllowed));
        plan.listeners[0].open = false;
        assert_eq!(judge(&plan, "10.0.0.1", true), Some(Refused::Closed));
        plan.listeners.clear();
        assert_eq!(
            judge(&plan, "10.0.0.1", true),
            Some(Refused::Other),
            "what no table names is not admitted"
        );
    }
}
