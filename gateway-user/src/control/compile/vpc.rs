//! Pure: private networks, and the addresses that they need on interfaces.

use crate::{
    base::{Name, Site},
    control::state::State,
    resource,
    snapshot::{OwnedAddress, Vpc, names::LOCAL_REGION},
};

pub(in crate::control) fn compile(vpc: &resource::Vpc, site: &Site) -> Vpc {
    let region = vpc.region.clone().or_else(|| site.region.clone());
    Vpc {
        gateway: vpc.gateway.clone(),
        name: vpc.name.clone(),
        account: vpc.account.clone(),
        interface: vpc.interface.clone(),
        address: vpc.address,
        zone: vpc.zone.clone(),
        remote: site.region.is_some() && region != site.region,
        region: region.unwrap_or_else(here),
        probe: vpc.probe,
        authoritative_dns: vpc.authoritative_dns,
    }
}

fn here() -> Name {
    #[expect(clippy::expect_used, reason = "a constant that a test checks")]
    Name::new(LOCAL_REGION).expect("a good name")
}

/// The endpoints' addresses, sorted.
pub(super) fn addresses(state: &State) -> Vec<OwnedAddress> {
    let owned = |vpc: &std::sync::Arc<resource::Vpc>| OwnedAddress {
        interface: vpc.interface.clone(),
        address: vpc.address,
    };
    let mut addresses: Vec<OwnedAddress> = state.vpcs.values().map(owned).collect();
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
