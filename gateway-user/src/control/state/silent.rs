//! Pure: the addresses within private networks, their own and those of endpoints, that were deleted or moved. They stay silent: neither ping nor TCP is answered,
//! and nothing is refused aloud either.
//!
//! Nothing else remembers such an endpoint, so the memory is bounded: it ends when a listener or another private network
//! takes the address on that interface, after [`KEPT`], or when [`MOST`] younger ones are there.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Effect, ListenerRecord, State};
use crate::{base::Name, resource::Address};

/// How long a deleted endpoint is kept silent. Clients' retries and cached DNS answers have ended by then.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Most silent endpoints; the oldest go first.
pub const MOST: usize = 64;

/// A silent endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silent {
    pub interface: String,
    pub address: IpAddr,
    /// The private network that had it.
    pub vpc: Name,
    /// Counter id, held as a listener's is.
    pub id: u16,
    pub ports: Vec<u16>,
    /// Seconds since the Unix epoch.
    pub until: u64,
}

impl State {
    /// Remembers the endpoints that `before` had and this state has no more, and forgets those that are used again.
    pub(super) fn keep_silent(&mut self, before: &Self, now: Duration) {
        for (vpc, record, address) in before.private() {
            let interface = &record.listener.interface;
            if self.uses(interface, address) {
                continue;
            }
            // The id goes on counting for the endpoint unless its listener lives on elsewhere.
            let used = self.listeners.values().any(|held| held.id == record.id)
                || self.silent.iter().any(|held| held.id == record.id);
            let id = if used { self.free_listener_id().ok() } else { Some(record.id) };
            let Some(id) = id else { continue };
            self.silent.push(Silent {
                interface: interface.clone(),
                address,
                vpc: vpc.clone(),
                id,
                ports: record.listener.ports().collect(),
                until: (now + KEPT).as_secs(),
            });
        }
        if self.silent.is_empty() {
            return;
        }
        let mut silent = std::mem::take(&mut self.silent);
        silent.retain(|one| !self.uses(&one.interface, one.address));
        silent.sort_by_key(|one| one.until);
        silent.drain(..silent.len().saturating_sub(MOST));
        self.silent = silent;
    }

    /// Forgets the silent endpoints whose time is over.
    pub(super) fn end_silence(&mut self, now: Duration) -> Effect {
        self.silent.retain(|one| one.until > now.as_secs());
        Effect::default()
    }

    /// When the first silent endpoint is forgotten.
    #[must_use]
    pub fn next_silence(&self) -> Option<Duration> {
        self.silent.iter().map(|one| Duration::from_secs(one.until)).min()
    }

    /// Every address within a private network: the network, the listener and the address.
    fn private(&self) -> Vec<(&Name, &ListenerRecord, IpAddr)> {
        let vpcs = self.vpcs.values().filter_map(|vpc| Some((&vpc.name, self.vpc_listener(vpc)?)));
        let endpoints = self.endpoints.values().flat_map(|record| {
            let listeners = self.endpoint_listeners(&record.endpoint).into_iter();
            listeners.map(|listener| (&record.endpoint.vpc, listener))
        });
        vpcs.chain(endpoints)
            .flat_map(|(vpc, record)| {
                record.listener.addresses.iter().filter_map(move |address| match address {
                    Address::Ip(ip) => Some((vpc, &**record, *ip)),
                    Address::Any => None,
                })
            })
            .collect()
    }

    fn uses(&self, interface: &str, address: IpAddr) -> bool {
        self.listeners.values().any(|record| {
            record.listener.interface == interface
                && record.listener.addresses.contains(&Address::Ip(address))
        })
    }
}
