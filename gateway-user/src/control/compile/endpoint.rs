//! Pure: endpoints of platform services.

use crate::{
    base::Site,
    control::state::{EndpointRecord, State},
    snapshot::{Endpoint, EndpointSubnet},
};

/// `None` only for an endpoint that `State::check` would have refused.
pub(in crate::control) fn compile(state: &State, record: &EndpointRecord, site: &Site) -> Option<Endpoint> {
    let endpoint = &record.endpoint;
    let vpc = state.vpcs.get(&endpoint.vpc)?;
    let service = state.endpoint_services.get(&endpoint.service)?;
    let region = endpoint.region.clone().unwrap_or_else(|| super::vpc::region(vpc, site));
    Some(Endpoint {
        gateway: endpoint.gateway.clone(),
        name: endpoint.name.clone(),
        vpc: endpoint.vpc.clone(),
        endpoint_service: service.name.clone(),
        service_name: service.full_name(&region).ok()?,
        fqdn: service.host(&region).ok()?.as_str().to_owned(),
        region,
        service: service.service.clone(),
        certificate: service.cert.clone(),
        subnets: endpoint
            .subnets
            .iter()
            .map(|subnet| EndpointSubnet {
                zone: subnet.zone.clone(),
                interface: subnet.interface.clone().unwrap_or_else(|| vpc.interface.clone()),
                address: subnet.address,
            })
            .collect(),
    })
}
