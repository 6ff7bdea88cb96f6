//! Pure: the state becomes what a document says: all of it, and nothing else.

use std::{collections::BTreeSet, fmt::Display};

use super::{Context, Effect, State, known_gateway, widen::widened};
use crate::{
    base::{Generation, Refusal},
    control::Document,
    resource::Kind,
};

use super::export::Secrets;

impl State {
    /// Replaces the whole configuration. Resources of the same name keep their ids, tokens and counters.
    pub(super) fn apply(&mut self, document: Document, context: &Context<'_>) -> Result<Effect, Refusal> {
        let Document {
            gateway,
            listener,
            account,
            vpc,
            certificate,
            domain,
            service,
            route,
            endpoint_service,
            endpoint,
        } = document;
        let mut effect = Effect::default();
        for one in &gateway {
            known_gateway(&one.name)?;
        }
        unique(Kind::Gateway, gateway.iter().map(|one| &one.name))?;
        let listeners = unique(Kind::Listener, listener.iter().map(|one| &one.name))?;
        let accounts = unique(Kind::Account, account.iter().map(|one| &one.name))?;
        let vpcs = unique(Kind::Vpc, vpc.iter().map(|one| &one.name))?;
        let certificates = unique(Kind::Certificate, certificate.iter().map(|one| &one.name))?;
        let domains = unique(Kind::Domain, domain.iter().map(|one| &one.host))?;
        let services = unique(Kind::Service, service.iter().map(|one| &one.name))?;
        let routes = unique(Kind::Route, route.iter().map(|one| &one.name))?;
        let offered = unique(Kind::EndpointService, endpoint_service.iter().map(|one| &one.name))?;
        let endpoints = unique(Kind::Endpoint, endpoint.iter().map(|one| &one.name))?;

        // Removed listeners give their ids back first. Removed certificates and services go last: their secrets may be
        // wanted by fingerprint under another name.
        self.listeners
            .retain(|name, _| name.vpc().is_some() || name.endpoint().is_some() || listeners.contains(name));
        self.endpoints_retain(|name| endpoints.contains(name));
        self.vpcs_retain(|name| vpcs.contains(name));
        for one in listener {
            let name = one.name.clone();
            self.listener_put(one).map_err(|refusal| within(Kind::Listener, &name, refusal))?;
        }
        self.accounts.retain(|name, _| accounts.contains(name));
        for one in account {
            self.account_put(one)?;
        }
        for one in vpc {
            let name = one.name.clone();
            self.vpc_put(one, context).map_err(|refusal| within(Kind::Vpc, &name, refusal))?;
        }
        for one in certificate {
            self.certificate_put(one, context)?;
        }
        self.certificates.retain(|name, _| certificates.contains(name));
        self.domains.retain(|host, _| domains.contains(host));
        for one in domain {
            let host = one.host.clone();
            self.domain_put(one).map_err(|refusal| within(Kind::Domain, &host, refusal))?;
        }
        for one in service {
            let name = one.name.clone();
            let issued = self.service_put(one, context);
            effect.tokens.extend(issued.map_err(|refusal| within(Kind::Service, &name, refusal))?);
        }
        self.services.retain(|name, _| services.contains(name));
        self.routes.retain(|name, _| routes.contains(name));
        for one in route {
            let name = one.name.clone();
            self.route_put(one).map_err(|refusal| within(Kind::Route, &name, refusal))?;
        }
        self.endpoint_services.retain(|name, _| offered.contains(name));
        for one in endpoint_service {
            let name = one.name.clone();
            let put = self.endpoint_service_put(one);
            put.map_err(|refusal| within(Kind::EndpointService, &name, refusal))?;
        }
        for one in endpoint {
            let name = one.name.clone();
            self.endpoint_put(one, context).map_err(|refusal| within(Kind::Endpoint, &name, refusal))?;
        }
        Ok(effect)
    }

    /// Goes back to what a generation had, as far as its secrets are still there.
    pub(super) fn rollback(
        &mut self,
        generation: Generation,
        yes: bool,
        context: &Context<'_>,
    ) -> Result<Effect, Refusal> {
        let mut document = (context.history)(generation)?;
        let before = self.clone();
        let mut notes = Vec::new();
        for wanted in &mut document.certificate {
            match self.find_key(wanted, context) {
                Ok(_) => continue,
                Err(refusal) if refusal.code != "missing_secret" => return Err(refusal),
                Err(_) => {}
            }
            // A key that was deleted is gone for good. The certificate of that name that is there now takes its place.
            let held =
                before.export(Secrets::Hashes).certificate.into_iter().find(|one| one.name == wanted.name);
            let Some(held) = held else {
                let message =
                    format!("the key of certificate `{}` was deleted and cannot come back", wanted.name);
                return Err(Refusal::new("missing_secret", message)
                    .field("certificate", &wanted.name)
                    .remedy(format_args!(
                        "add it first: `gateway cert add {} --chain FILE --key FILE`",
                        wanted.name
                    )));
            };
            notes.push(format!("certificate `{}` stays as it is: the old key was deleted", wanted.name));
            *wanted = held;
        }
        let mut effect = self.apply(document, context)?;
        effect.notes = notes;
        let wider = widened(&before, self);
        if !wider.is_empty() && !yes {
            return Err(Refusal::new(
                "needs_yes",
                format_args!("this would widen access: {}", wider.join("; ")),
            )
            .field("generation", generation)
            .limit("nothing is widened unasked")
            .remedy("say `--yes` if that is meant"));
        }
        effect.notes.extend(wider);
        Ok(effect)
    }
}

fn unique<'a, T: Ord + Display + Clone + 'a>(
    kind: Kind,
    names: impl Iterator<Item = &'a T>,
) -> Result<BTreeSet<T>, Refusal> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            return Err(Refusal::new("duplicate", format_args!("{kind} `{name}` is there twice"))
                .field(kind, name)
                .remedy("keep one of them or give them different names"));
        }
    }
    Ok(seen)
}

fn within(kind: Kind, name: &dyn Display, mut refusal: Refusal) -> Refusal {
    refusal.message = format!("{kind} `{name}`: {}", refusal.message);
    refusal
}
