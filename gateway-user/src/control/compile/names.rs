//! Pure: the host names that the gateway itself is called by.

use crate::{
    base::Site,
    control::state::State,
    resource::gateway,
    snapshot::{Exposure, http::OwnHost, names::Names},
};

/// Sorted by host. The private name leads to each network's own endpoint, so it stands once per network.
pub(super) fn compile(state: &State, site: &Site) -> Vec<OwnHost> {
    let Some(names) = Names::of(site) else { return Vec::new() };
    let gateway = gateway::default_name();
    let own = |host: String, exposure: Exposure| OwnHost { gateway: gateway.clone(), host, exposure };
    let mut hosts = vec![
        own(names.gateway_public(&gateway), Exposure::Public),
        own(names.gateway_balancer(&gateway), Exposure::Public),
    ];
    for vpc in state.vpcs.keys() {
        hosts.push(own(names.gateway_private(&gateway), Exposure::Vpc(vpc.clone())));
        hosts.push(own(names.vpc_endpoint(vpc, &gateway), Exposure::Vpc(vpc.clone())));
    }
    hosts.sort_by(|left, right| left.host.cmp(&right.host));
    hosts
}
