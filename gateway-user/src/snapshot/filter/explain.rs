//! Pure: what the filter would do with a connection, in the operator's words.

use std::net::{IpAddr, SocketAddr};

use gateway_common::{
    counters::LARGE_LIST,
    decide::Verdict,
    reason::{Action, Reason},
};
use ipnet::IpNet;

use super::{FilterEntry, FilterListener, FilterPlan, ListenAddress, address, tables::FilterTables};
use crate::base::{Generation, Name};

/// The verdict about a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub reason: Reason,
    pub listener: Option<Name>,
    /// The entry of the allowlist that matched.
    pub entry: Option<IpNet>,
    /// The interface that the connection was assumed to come in on.
    pub interface: Option<String>,
    pub generation: Generation,
}

impl Explanation {
    /// Names what `verdict`, about a packet of `source`, says in numbers.
    #[must_use]
    pub fn of(plan: &FilterPlan, verdict: Verdict, source: IpAddr, interface: Option<&str>) -> Self {
        let listener = plan.listeners.iter().find(|listener| u32::from(listener.id) == verdict.listener);
        let entry = listener.zip(verdict.entry()).and_then(|(listener, id)| {
            if id == LARGE_LIST {
                return listener.large.as_ref()?.entry(source);
            }
            let matches = |entry: &&FilterEntry| entry.id == id && entry.cidr.contains(&source);
            listener.entries.iter().find(matches).map(|entry| entry.cidr)
        });
        Self {
            reason: verdict.reason,
            listener: listener.map(|listener| listener.name.clone()),
            entry,
            interface: interface.map(str::to_owned),
            generation: plan.generation,
        }
    }

    /// Whether the connection's packets are dropped.
    #[must_use]
    pub fn dropped(&self) -> bool {
        self.reason.action() == Action::Drop
    }
}

/// Explains a connection from `source` to `destination`. Without `interface`, it comes in where a listener expects it.
#[must_use]
pub fn explain(
    plan: &FilterPlan,
    tables: &FilterTables,
    source: IpAddr,
    destination: SocketAddr,
    interface: Option<&str>,
) -> Explanation {
    let interface = interface.or_else(|| expected(plan, destination));
    let name = interface.unwrap_or_default();
    let vlan = tables.attachment(name).map_or(0, |attachment| attachment.vlan);
    let verdict = tables.judge(name, &address::connection(source, destination, vlan));
    Explanation::of(plan, verdict, source, interface)
}

/// The interface of the listener that `destination` belongs to: one that names the address, else one that takes all.
fn expected(plan: &FilterPlan, destination: SocketAddr) -> Option<&str> {
    let reaches = |listener: &&FilterListener, wanted: &dyn Fn(ListenAddress) -> bool| {
        listener.ports.contains(&destination.port()) && listener.addresses.iter().any(|it| wanted(*it))
    };
    let exact = |it: ListenAddress| it == ListenAddress::Ip(destination.ip());
    let any = |it: ListenAddress| match it {
        ListenAddress::Any => true,
        ListenAddress::Ip(ip) => ip.is_unspecified() && ip.is_ipv4() == destination.is_ipv4(),
    };
    let listener = plan.listeners.iter().find(|it| reaches(it, &exact));
    let listener = listener.or_else(|| plan.listeners.iter().find(|it| reaches(it, &any)));
    listener.map(|listener| listener.interface.as_str())
}
