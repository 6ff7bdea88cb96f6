//! Pure: which resources differ between two states.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::State;
use crate::resource::Kind;

impl State {
    /// Kind and name of every resource that differs. A record that both states share is not looked into, so this costs
    /// little however large the configuration is.
    #[must_use]
    pub fn touched(&self, after: &Self) -> BTreeSet<(Kind, String)> {
        let mut out = BTreeSet::new();
        compare(Kind::Listener, &self.listeners, &after.listeners, &mut out);
        // The listener of a private network or of an endpoint is a part of it.
        let own = |(kind, name): (Kind, String)| match name.split_once(':') {
            Some(("vpc", vpc)) => (Kind::Vpc, vpc.to_owned()),
            Some((_, endpoint)) => {
                (Kind::Endpoint, endpoint.split(':').next().unwrap_or(endpoint).to_owned())
            }
            None => (kind, name),
        };
        let mut out: BTreeSet<_> = out.into_iter().map(own).collect();
        compare(Kind::Account, &self.accounts, &after.accounts, &mut out);
        compare(Kind::Vpc, &self.vpcs, &after.vpcs, &mut out);
        compare(Kind::Certificate, &self.certificates, &after.certificates, &mut out);
        compare(Kind::Domain, &self.domains, &after.domains, &mut out);
        compare(Kind::Service, &self.services, &after.services, &mut out);
        compare(Kind::Route, &self.routes, &after.routes, &mut out);
        compare(Kind::EndpointService, &self.endpoint_services, &after.endpoint_services, &mut out);
        compare(Kind::Endpoint, &self.endpoints, &after.endpoints, &mut out);
        out
    }

    /// Number of resources.
    #[must_use]
    pub fn count(&self) -> usize {
        // A private network and its listener are one row, and so are an endpoint and all of its listeners.
        self.listeners.keys().filter(|name| name.endpoint().is_none()).count()
            + self.endpoints.len()
            + self.endpoint_services.len()
            + self.accounts.len()
            + self.certificates.len()
            + self.domains.len()
            + self.services.len()
            + self.routes.len()
    }
}

fn compare<K: Ord + ToString, T: PartialEq>(
    kind: Kind,
    before: &BTreeMap<K, Arc<T>>,
    after: &BTreeMap<K, Arc<T>>,
    out: &mut BTreeSet<(Kind, String)>,
) {
    for (name, record) in after {
        if before.get(name).is_none_or(|held| !Arc::ptr_eq(held, record) && held != record) {
            out.insert((kind, name.to_string()));
        }
    }
    out.extend(before.keys().filter(|name| !after.contains_key(*name)).map(|name| (kind, name.to_string())));
}
