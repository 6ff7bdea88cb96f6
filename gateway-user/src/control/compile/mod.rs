//! Pure: the state as the data path reads it. The same state gives the same snapshot.
//!
//! An object that is equal to the one of the previous snapshot is that object: what a connection or request has pinned
//! stays in use, and enforcers may compare by address.

mod dns;
mod domain;
pub(super) mod endpoint;
mod filter;
mod listener;
mod names;
mod route;
mod service;
mod upstream;
pub(super) mod vpc;

use std::sync::Arc;

use super::state::State;
use crate::{
    base::{Generation, Name, Refusal, Site},
    resource::Exposure,
    snapshot::{Snapshot, Visibility, filter::check},
};

/// Compiles the state under a generation's number.
///
/// # Errors
/// The filter's tables cannot hold it (DESIGN §4.3): the change is refused, never a packet passed.
pub fn compile(
    state: &State,
    site: &Site,
    generation: Generation,
    previous: &Snapshot,
) -> Result<Snapshot, Refusal> {
    let revoked = state.revoked(site);
    let attached = |name: &str| !revoked.contains_key(name);
    let served = |listener: &Name| state.network(listener).is_none_or(attached);
    let plan = filter::plan(state, generation, served);
    check(&plan)?;
    let endpoints = state.endpoints.values().filter(|record| attached(&record.endpoint.vpc));
    let endpoints = endpoints.filter_map(|record| endpoint::compile(state, record, site));
    let endpoints = reuse(endpoints, &previous.endpoints, |one| &one.name);
    let certificates = state.certificates.values().filter_map(|record| record.material.as_ref());
    let mut snapshot = Snapshot {
        generation,
        filter: reuse_one(plan, &previous.filter),
        listeners: reuse(
            state
                .listeners
                .values()
                .filter(|record| served(&record.listener.name))
                .map(|record| listener::compile(record)),
            &previous.listeners,
            |one| &one.name,
        ),
        vpcs: reuse(
            state.vpcs.values().filter(|vpc| attached(&vpc.name)).map(|vpc| vpc::compile(vpc, site)),
            &previous.vpcs,
            |one| &one.name,
        ),
        addresses: vpc::addresses(state, attached, &endpoints),
        endpoints,
        own_hosts: reuse(names::compile(state, site).into_iter(), &previous.own_hosts, |one| &one.host),
        dns: Arc::default(),
        certificates: certificates.map(|material| Arc::clone(&material.compiled)).collect(),
        domains: reuse(
            state.domains.values().map(|domain| domain::compile(domain)),
            &previous.domains,
            |one| &one.host,
        ),
        routes: reuse(state.routes.values().map(|route| route::compile(route)), &previous.routes, |one| {
            &one.name
        }),
        services: reuse(
            state.services.values().map(|record| service::compile(record)),
            &previous.services,
            |one| &one.name,
        ),
    };
    snapshot.dns = reuse_one(dns::plan(&snapshot, site, &previous.dns), &previous.dns);
    Ok(snapshot)
}

/// Takes the previous object in place of an equal one. Both sides are sorted by key, as the state's maps are.
fn reuse<T: PartialEq, K: Ord + ?Sized>(
    items: impl Iterator<Item = T>,
    previous: &[Arc<T>],
    key: impl Fn(&T) -> &K,
) -> Vec<Arc<T>> {
    let same = |item: T| {
        let place = previous.binary_search_by(|held| key(held).cmp(key(&item)));
        match place.ok().and_then(|place| previous.get(place)) {
            Some(held) if **held == item => Arc::clone(held),
            Some(_) | None => Arc::new(item),
        }
    };
    items.map(same).collect()
}

fn reuse_one<T: PartialEq>(item: T, previous: &Arc<T>) -> Arc<T> {
    if **previous == item { Arc::clone(previous) } else { Arc::new(item) }
}

fn visibility(exposure: &Exposure) -> Visibility {
    match exposure {
        Exposure::All => Visibility::All,
        Exposure::Public => Visibility::Public,
        Exposure::Vpc => Visibility::AnyVpc,
        Exposure::VpcNamed(vpc) => Visibility::Vpc(vpc.clone()),
        // An endpoint names the service that answers there itself.
        Exposure::Endpoint | Exposure::EndpointNamed(_) => Visibility::Endpoints,
    }
}
