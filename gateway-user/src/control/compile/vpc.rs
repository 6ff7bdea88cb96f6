//! Pure: private networks, and the addresses that they need on interfaces.

use crate::{
    base::{Name, Site},
    control::state::State,
    resource,
    snapshot::{Endpoint, OwnedAddress, Vpc, names::LOCAL_REGION},
};

pub(in crate::control) fn compile(vpc: &resource::Vpc, site: &Site) -> Vpc {
    let region = region(vpc, site);
    Vpc {
        gateway: vpc.gateway.clone(),
        name: vpc.name.clone(),
        account: vpc.account.clone(),
        interface: vpc.interface.clone(),
        address: vpc.address,
        zone: vpc.zone.clone(),
        remote: site.region.as_ref().is_some_and(|here| *here != region),
        region,
        probe: vpc.probe,
        authoritative_dns: vpc.authoritative_dns,
    }
}

/// The region that a network is in.
pub(in crate::control) fn region(vpc: &resource::Vpc, site: &Site) -> Name {
    vpc.region.clone().or_else(|| site.region.clone()).unwrap_or_else(here)
}

fn here() -> Name {
    #[expect(clippy::expect_used, reason = "a constant that a test checks")]
    Name::new(LOCAL_REGION).expect("a good name")
}

/// The addresses of networks and endpoints, sorted.
pub(super) fn addresses(
    state: &State,
    attached: impl Fn(&str) -> bool,
    endpoints: &[std::sync::Arc<Endpoint>],
) -> Vec<OwnedAddress> {
    let owned = |vpc: &std::sync::Arc<resource::Vpc>| OwnedAddress {
        interface: vpc.interface.clone(),
        address: vpc.address,
    };
    let subnets = endpoints.iter().flat_map(|endpoint| &endpoint.subnets);
    let subnets =
        subnets.map(|subnet| OwnedAddress { interface: subnet.interface.clone(), address: subnet.address });
    let mut addresses: Vec<OwnedAddress> =
        state.vpcs.values().filter(|vpc| attached(&vpc.name)).map(owned).chain(subnets).collect();
    addresses.sort_unstable();
    addresses
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_unnamed_regions_name_is_a_name() {
        assert_eq!(super::here().as_str(), super::LOCAL_REGION);
    }
}
