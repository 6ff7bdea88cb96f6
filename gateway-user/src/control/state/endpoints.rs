//! Pure: edits of endpoint services and of endpoints.
//!
//! An endpoint is a record of its own and one listener per interface that it stands on: `endpoint:NAME`, then
//! `endpoint:NAME:ZONE`. The listeners have the switch, the ports and the security group, all of them the same; they come
//! and go with the endpoint.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Context, Effect, EndpointRecord, ListenerRecord, State, exists, in_use, known_gateway, not_found,
};
use crate::{
    base::{Name, Refusal, Site},
    control::compile::vpc::region,
    resource::{Allowlist, Endpoint, EndpointService, Exposure, Kind, Vpc},
};

impl State {
    pub(super) fn endpoint_service_add(
        &mut self,
        service: EndpointService,
        replace: bool,
    ) -> Result<Effect, Refusal> {
        let name = service.name.clone();
        if !replace && self.endpoint_services.contains_key(&name) {
            return Err(exists(Kind::EndpointService, &name, "`--replace` changes it in place"));
        }
        self.endpoint_service_put(service)?;
        Ok(Effect::of(Kind::EndpointService, name))
    }

    pub(super) fn endpoint_service_put(&mut self, service: EndpointService) -> Result<(), Refusal> {
        service.validate()?;
        known_gateway(&service.gateway)?;
        if self.endpoint_services.get(&service.name).is_none_or(|held| **held != service) {
            self.endpoint_services.insert(service.name.clone(), Arc::new(service));
        }
        Ok(())
    }

    pub(super) fn endpoint_service_delete(&mut self, name: &Name) -> Result<Effect, Refusal> {
        let users = self.endpoints.values().filter(|record| record.endpoint.service == *name);
        let users: Vec<String> = users.map(|record| format!("endpoint `{}`", record.endpoint.name)).collect();
        if !users.is_empty() {
            return Err(in_use(Kind::EndpointService, name, &users));
        }
        match self.endpoint_services.remove(name) {
            Some(_) => Ok(Effect::of(Kind::EndpointService, name)),
            None => Err(not_found(Kind::EndpointService, name)),
        }
    }

    /// Adds an endpoint. A repetition that is known by its client token changes nothing.
    pub(super) fn endpoint_add(
        &mut self,
        endpoint: Endpoint,
        context: &Context<'_>,
    ) -> Result<Effect, Refusal> {
        endpoint.validate()?;
        if let Some(token) = &endpoint.client_token
            && let Some(held) =
                self.endpoints.values().find(|held| held.endpoint.client_token.as_ref() == Some(token))
        {
            if held.request == endpoint.request() {
                return Ok(told(&held.endpoint, None));
            }
            return Err(Refusal::new(
                "client_token_used",
                format_args!(
                    "endpoint `{}` was created with this client token and other parameters",
                    held.endpoint.name
                ),
            )
            .field("client_token", token)
            .limit("one token stands for one creation")
            .remedy("give the same parameters again, or another token"));
        }
        if self.endpoints.contains_key(&endpoint.name) {
            return Err(exists(Kind::Endpoint, &endpoint.name, "choose another name or delete it first"));
        }
        let effect = told(&endpoint, Some(&endpoint.security_group));
        self.endpoint_put(endpoint, context)?;
        Ok(effect)
    }

    /// Adds an endpoint or gives the one of that name another form; the ids of its listeners stay.
    pub(super) fn endpoint_put(
        &mut self,
        mut endpoint: Endpoint,
        context: &Context<'_>,
    ) -> Result<(), Refusal> {
        endpoint.validate()?;
        known_gateway(&endpoint.gateway)?;
        let vpc = self.vpcs.get(&endpoint.vpc).ok_or_else(|| not_found(Kind::Vpc, &endpoint.vpc))?;
        let held = self.endpoints.get(&endpoint.name).cloned();
        // The creation that a record came from is the first one; an exported form of it is another text.
        let request = match &held {
            Some(held) if held.endpoint.client_token == endpoint.client_token => held.request.clone(),
            Some(_) | None => endpoint.request(),
        };
        endpoint.region.get_or_insert_with(|| region(vpc, context.site));
        for subnet in &mut endpoint.subnets {
            subnet.interface.get_or_insert_with(|| vpc.interface.clone());
        }
        let (allow, open) = (std::mem::take(&mut endpoint.security_group), endpoint.open);
        endpoint.open = true;
        let listeners = endpoint.listeners();
        let name = endpoint.name.clone();
        let record = EndpointRecord { endpoint, request };
        if held.is_none_or(|held| *held != record) {
            supported(&record.endpoint, vpc, context.site)?;
            self.endpoints.insert(name.clone(), Arc::new(record));
        }
        self.listeners.retain(|held, _| {
            held.endpoint() != Some(name.as_str()) || listeners.iter().any(|one| one.name == *held)
        });
        for mut listener in listeners {
            listener.open = open;
            let name = listener.name.clone();
            match self.listeners.get_mut(&name) {
                Some(record) if record.listener == listener => {}
                Some(record) => {
                    // Its limits are no part of the endpoint's form.
                    let limits = record.listener.limits;
                    Arc::make_mut(record).listener = crate::resource::Listener { limits, ..listener };
                }
                None => self.listener_insert(listener)?,
            }
            self.allow_set(&name, &allow, true)?;
        }
        Ok(())
    }

    pub(super) fn endpoint_delete(&mut self, name: &Name) -> Result<Effect, Refusal> {
        if self.endpoints.remove(name).is_none() {
            return Err(not_found(Kind::Endpoint, name));
        }
        self.endpoints_retain(|_| true);
        Ok(Effect::of(Kind::Endpoint, name))
    }

    /// Keeps only these endpoints, and no listener of another.
    pub(super) fn endpoints_retain(&mut self, keep: impl Fn(&Name) -> bool) {
        self.endpoints.retain(|name, _| keep(name));
        let endpoints = &self.endpoints;
        self.listeners.retain(|name, _| name.endpoint().is_none_or(|one| endpoints.contains_key(one)));
    }

    /// The listeners of an endpoint, in the order of its interfaces.
    pub(in crate::control) fn endpoint_listeners(&self, endpoint: &Endpoint) -> Vec<&Arc<ListenerRecord>> {
        endpoint.listeners().iter().filter_map(|one| self.listeners.get(&one.name)).collect()
    }

    /// The listeners that change together with this one: all of its endpoint, or itself alone.
    fn together(&self, listener: &Name) -> Vec<Name> {
        let endpoint = listener.endpoint().and_then(|name| self.endpoints.get(name));
        match endpoint {
            Some(record) => record.endpoint.listeners().into_iter().map(|one| one.name).collect(),
            None => vec![listener.clone()],
        }
    }

    /// Makes a change of one listener to every listener that belongs to the same endpoint.
    pub(super) fn each(
        &mut self,
        listener: &Name,
        mut change: impl FnMut(&mut Self, &Name) -> Result<Effect, Refusal>,
    ) -> Result<Effect, Refusal> {
        let mut effect = Effect::default();
        for name in self.together(listener) {
            effect = change(self, &name)?;
        }
        if let Some(endpoint) = listener.endpoint() {
            effect.item = Some((Kind::Endpoint, endpoint.to_owned()));
        }
        Ok(effect)
    }

    /// The users of a network that keep it from being deleted.
    pub(super) fn endpoints_in(&self, vpc: &Name) -> Vec<String> {
        let users = self.endpoints.values().filter(|record| record.endpoint.vpc == *vpc);
        users.map(|record| format!("endpoint `{}`", record.endpoint.name)).collect()
    }

    /// What holds between endpoint services and the rest.
    pub(super) fn check_endpoint_services(&self) -> Result<(), Refusal> {
        for one in self.endpoint_services.values() {
            if !self.services.contains_key(&one.service) {
                return Err(not_found(Kind::Service, &one.service).remedy(format_args!(
                    "add it first; endpoint service `{}` leads to it: `gateway service add {} --no-auth …`",
                    one.name, one.service
                )));
            }
            if let Some(cert) = &one.cert
                && !self.certificates.contains_key(cert)
            {
                return Err(not_found(Kind::Certificate, cert).remedy(format_args!(
                    "add it first: `gateway cert add {cert} --chain FILE --key FILE`"
                )));
            }
        }
        Ok(())
    }

    /// What holds between endpoints, networks and services.
    pub(super) fn check_private_endpoints(&self, site: &Site) -> Result<(), Refusal> {
        let (mut addresses, mut hosts) = (BTreeMap::new(), BTreeMap::new());
        for record in self.endpoints.values() {
            let endpoint = &record.endpoint;
            let named = |mut refusal: Refusal| {
                refusal.message = format!("endpoint `{}`: {}", endpoint.name, refusal.message);
                refusal
            };
            let vpc = self.vpcs.get(&endpoint.vpc);
            let vpc = vpc.ok_or_else(|| named(not_found(Kind::Vpc, &endpoint.vpc)))?;
            let service = self.endpoint_services.get(&endpoint.service);
            let service =
                service.ok_or_else(|| named(not_found(Kind::EndpointService, &endpoint.service)))?;
            let host = self.check_offer(endpoint, vpc, service, site).map_err(named)?;
            if let Some(other) = hosts.insert((&endpoint.vpc, host), &endpoint.name) {
                return Err(Refusal::new(
                    "conflict",
                    format_args!(
                        "endpoints `{other}` and `{}` would have the same host name in vpc `{}`",
                        endpoint.name, endpoint.vpc
                    ),
                )
                .field("service", &endpoint.service)
                .limit("one endpoint of a service per network")
                .remedy("give one endpoint all the zones"));
            }
            for subnet in &endpoint.subnets {
                let interface = subnet.interface.as_deref().unwrap_or(&vpc.interface);
                let at = (interface, subnet.address.addr());
                let other = self.vpcs.values().find(|one| one.name != vpc.name && one.interface == interface);
                if let Some(other) = other.filter(|_| interface != vpc.interface) {
                    return Err(named(
                        Refusal::new(
                            "foreign_interface",
                            format_args!("interface {interface} belongs to vpc `{}`", other.name),
                        )
                        .field("subnets", format_args!("{}@{interface}", subnet.address))
                        .limit(format_args!("interfaces of vpc `{}`", vpc.name))
                        .remedy("an endpoint is reached from its own network only"),
                    ));
                }
                if let Some(other) = addresses.insert(at, &endpoint.name) {
                    return Err(Refusal::new(
                        "conflict",
                        format_args!(
                            "endpoints `{other}` and `{}` would have the same address on {interface}",
                            endpoint.name
                        ),
                    )
                    .field("subnets", subnet.address)
                    .remedy("give one of them another address"));
                }
            }
            for listener in self.endpoint_listeners(endpoint) {
                if let Some(cidr) = listener.entries.cidrs().find(|cidr| cidr.addr().is_ipv6()) {
                    return Err(named(Endpoint::ipv4_only().field("security_group", cidr)));
                }
            }
        }
        // The address of an endpoint is the endpoint's alone, whatever the port.
        for record in self.listeners.values().filter(|record| record.listener.name.endpoint().is_none()) {
            let listener = &record.listener;
            for address in &listener.addresses {
                let crate::resource::Address::Ip(ip) = address else { continue };
                if let Some(endpoint) = addresses.get(&(listener.interface.as_str(), *ip)) {
                    return Err(Refusal::new(
                        "conflict",
                        format_args!(
                            "endpoint `{endpoint}` and listener `{}` would have the same address on {}",
                            listener.name, listener.interface
                        ),
                    )
                    .field("subnets", ip)
                    .remedy("give one of them another address"));
                }
            }
        }
        Ok(())
    }

    /// Whether the service is offered to the endpoint; the host name that it has there.
    fn check_offer(
        &self,
        endpoint: &Endpoint,
        vpc: &Vpc,
        service: &EndpointService,
        site: &Site,
    ) -> Result<String, Refusal> {
        let wanted = region(vpc, site);
        let region = endpoint.region.as_ref().unwrap_or(&wanted);
        if *region != wanted {
            return Err(Refusal::new(
                "other_region",
                format_args!("vpc `{}` is in region {wanted}, the service is wanted in {region}", vpc.name),
            )
            .field("region", region)
            .limit(&wanted)
            .remedy("an endpoint and its network are in the same region"));
        }
        if !service.offered_in(region) {
            let regions = service.regions.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
            return Err(Refusal::new(
                "unsupported_region",
                format_args!("endpoint service `{}` is not offered in region {region}", service.name),
            )
            .field("region", region)
            .limit(regions)
            .remedy("choose a network in one of these regions, or add the region to the service"));
        }
        let host = service.host(region)?;
        service.full_name(region)?;
        let record = service.cert.as_ref().and_then(|cert| self.certificates.get(cert));
        if let Some(names) = record.and_then(|record| record.material.as_ref()).map(|one| &one.chain.names)
            && !names.iter().any(|certified| host.is_covered_by(certified))
        {
            let message =
                format!("certificate of endpoint service `{}` does not cover `{host}`", service.name);
            return Err(Refusal::new("not_covered", message)
                .field("cert", service.cert.as_deref().unwrap_or_default())
                .limit(format_args!("it covers {}", names.join(", ")))
                .remedy("give the endpoint service a certificate with this name"));
        }
        let answers = self.services.get(&service.service).map(|record| &record.service.exposure);
        let visible = answers.is_none_or(|exposure| match exposure {
            Exposure::All | Exposure::Vpc | Exposure::Endpoint => true,
            Exposure::VpcNamed(one) => *one == vpc.name,
            Exposure::EndpointNamed(one) => *one == endpoint.name,
            Exposure::Public => false,
        });
        if !visible {
            return Err(Refusal::new(
                "not_visible",
                format_args!("service `{}` does not answer in vpc `{}`", service.service, vpc.name),
            )
            .field("exposure", answers.map(ToString::to_string).unwrap_or_default())
            .limit("all, vpc, endpoint, or those of this network and endpoint")
            .remedy(format_args!("`gateway service update {} --exposure endpoint`", service.service)));
        }
        Ok(host.as_str().to_owned())
    }
}

/// The effect of a creation, with what its operator should know.
fn told(endpoint: &Endpoint, allow: Option<&Allowlist>) -> Effect {
    let mut effect = Effect::of(Kind::Endpoint, &endpoint.name);
    if let [only] = endpoint.subnets.as_slice() {
        effect.notes.push(format!(
            "no zone redundancy: endpoint `{}` is in zone {} only; give it a subnet in a second zone",
            endpoint.name, only.zone
        ));
    }
    if allow.is_some_and(Allowlist::is_empty) {
        effect.notes.push(format!(
            "nobody can reach endpoint `{0}` yet: `gateway endpoint allow add {0} CIDR`",
            endpoint.name
        ));
    }
    effect
}

/// Refuses zones that the site does not have; those of another region are that region's matter.
fn supported(endpoint: &Endpoint, vpc: &Vpc, site: &Site) -> Result<(), Refusal> {
    let remote = vpc.region.is_some() && site.region.is_some() && vpc.region != site.region;
    if remote || site.zones.is_empty() {
        return Ok(());
    }
    let Some(subnet) = endpoint.subnets.iter().find(|subnet| !site.zones.contains(&subnet.zone)) else {
        return Ok(());
    };
    let zones = site.zones.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
    let zone = &subnet.zone;
    let which = subnet.vswitch.as_deref().map_or_else(
        || format!("subnet {} in zone {zone}", subnet.address),
        |vswitch| format!("vswitch {vswitch} in zone {zone}"),
    );
    Err(Refusal::new(
        "unsupported_zone",
        format_args!("{which} is not supported, supported zones: [{zones}]"),
    )
    .field("zone", zone)
    .limit(format_args!("[{zones}]"))
    .remedy("give subnets in these zones"))
}
