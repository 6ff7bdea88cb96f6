//! Pure: edits of private networks.
//!
//! A private network is two records: the network itself, and its listener `vpc:NAME` among the listeners, which has the
//! switch, the ports and the allowlist. They come and go together.

use std::sync::Arc;

use super::{Context, Effect, ListenerRecord, State, exists, in_use, known_gateway, not_found};
use crate::{
    base::{Name, Refusal, Site},
    resource::{Kind, Patch, Vpc},
};

impl State {
    pub(super) fn vpc_add(&mut self, vpc: Vpc, context: &Context<'_>) -> Result<Effect, Refusal> {
        if self.vpcs.contains_key(&vpc.name) {
            return Err(exists(Kind::Vpc, &vpc.name, "choose another name or delete it first"));
        }
        let name = vpc.name.clone();
        self.vpc_put(vpc, context)?;
        Ok(Effect::of(Kind::Vpc, name))
    }

    /// Attaches a network or gives the one of that name another form; the ids of its listener stay.
    pub(super) fn vpc_put(&mut self, vpc: Vpc, context: &Context<'_>) -> Result<(), Refusal> {
        let (allow, listener) = (vpc.allow(), vpc.listener_name());
        self.vpc_set(vpc, context)?;
        self.allow_set(&listener, &allow, true).map(drop)
    }

    /// Changes some fields; the entries stay.
    pub(super) fn vpc_update(
        &mut self,
        name: &Name,
        patch: &Patch,
        context: &Context<'_>,
    ) -> Result<Effect, Refusal> {
        let vpc = self.vpcs.get(name).ok_or_else(|| not_found(Kind::Vpc, name))?;
        let held =
            self.vpc_listener(vpc).map_or_else(|| Vpc::clone(vpc), |record| vpc.with(&record.listener));
        self.vpc_set(patch.apply(&held)?, context)?;
        Ok(Effect::of(Kind::Vpc, name))
    }

    /// Gives a network and its listener a form, and the listener no other entries than it has.
    fn vpc_set(&mut self, vpc: Vpc, context: &Context<'_>) -> Result<(), Refusal> {
        vpc.validate()?;
        known_gateway(&vpc.gateway)?;
        let listener = vpc.listener();
        let vpc = vpc.bare();
        match self.vpcs.get(&vpc.name) {
            // A network that is there stays, whatever the site's settings have become meanwhile.
            Some(held) if **held == vpc => {}
            Some(_) | None => {
                supported(&vpc, context.site)?;
                self.attachable(&vpc, context.site)?;
                self.vpcs.insert(vpc.name.clone(), Arc::new(vpc));
            }
        }
        match self.listeners.get_mut(&listener.name) {
            Some(record) if record.listener == listener => {}
            Some(record) => Arc::make_mut(record).listener = listener,
            None => self.listener_insert(listener)?,
        }
        Ok(())
    }

    pub(super) fn vpc_delete(&mut self, name: &Name) -> Result<Effect, Refusal> {
        let users = self.endpoints_in(name);
        if !users.is_empty() {
            return Err(in_use(Kind::Vpc, name, &users));
        }
        let Some(vpc) = self.vpcs.remove(name) else { return Err(not_found(Kind::Vpc, name)) };
        self.listeners.remove(&vpc.listener_name());
        Ok(Effect::of(Kind::Vpc, name))
    }

    /// Keeps only these networks.
    pub(super) fn vpcs_retain(&mut self, keep: impl Fn(&Name) -> bool) {
        self.vpcs.retain(|name, _| keep(name));
        let vpcs = &self.vpcs;
        self.listeners.retain(|name, _| name.vpc().is_none_or(|vpc| vpcs.contains_key(vpc)));
    }

    /// The listener of a private network.
    pub(in crate::control) fn vpc_listener(&self, vpc: &Vpc) -> Option<&Arc<ListenerRecord>> {
        self.listeners.get(&vpc.listener_name())
    }

    /// What holds between private networks.
    pub(super) fn check_vpcs(&self) -> Result<(), Refusal> {
        let mut outsiders = None;
        let mut endpoints = std::collections::BTreeMap::new();
        for vpc in self.vpcs.values() {
            if vpc.authoritative_dns
                && let Some(first) = outsiders.replace(&vpc.name)
            {
                return Err(Refusal::new(
                    "conflict",
                    format_args!("authoritative DNS is on for vpc `{first}` already, and one may have it"),
                )
                .field("authoritative_dns", &vpc.name)
                .limit(1)
                .remedy(format_args!("take it off `{first}` first")));
            }
            let at = (vpc.interface.as_str(), vpc.address.addr());
            if let Some(holder) = endpoints.insert(at, &vpc.name) {
                return Err(taken(vpc, &format!("vpc `{holder}`")));
            }
        }
        // The address of a private endpoint is the endpoint's alone, whatever the port.
        for record in self.listeners.values().filter(|record| record.listener.name.vpc().is_none()) {
            let listener = &record.listener;
            for address in &listener.addresses {
                let crate::resource::Address::Ip(ip) = address else { continue };
                let vpc =
                    endpoints.get(&(listener.interface.as_str(), *ip)).and_then(|vpc| self.vpcs.get(*vpc));
                if let Some(vpc) = vpc {
                    return Err(taken(vpc, &format!("listener `{}`", listener.name)));
                }
            }
        }
        Ok(())
    }
}

fn taken(vpc: &Vpc, holder: &str) -> Refusal {
    Refusal::new(
        "conflict",
        format_args!("vpc `{}` and {holder} would have the same address on {}", vpc.name, vpc.interface),
    )
    .field("address", format_args!("{} on {}", vpc.address.addr(), vpc.interface))
    .remedy("give one of them another address, or the interface of its own network")
}

/// Refuses a network whose vswitch is in a zone that the site does not have.
fn supported(vpc: &Vpc, site: &Site) -> Result<(), Refusal> {
    // The zones of another region are that region's matter.
    let remote = vpc.region.is_some() && site.region.is_some() && vpc.region != site.region;
    if remote || site.zones.is_empty() || site.zones.contains(&vpc.zone) {
        return Ok(());
    }
    let zones = site.zones.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
    Err(Refusal::new(
        "unsupported_zone",
        format_args!(
            "vswitch {} in zone {} is not supported, supported zones: [{zones}]",
            vpc.vswitch(),
            vpc.zone
        ),
    )
    .field("zone", &vpc.zone)
    .limit(format_args!("[{zones}]"))
    .remedy(
        "give a vswitch in one of these zones; clients reach the endpoint from every zone of the network",
    ))
}
