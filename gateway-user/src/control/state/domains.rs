//! Pure: edits of certificates and domains.

use std::sync::Arc;

use super::{CertificateRecord, Context, Effect, Material, State, exists, in_use, known_gateway, not_found};
use crate::{
    base::{Name, Refusal},
    resource::{
        Certificate, Domain, Host, Kind,
        certificate::{Chain, Key},
    },
};

impl State {
    pub(super) fn certificate_add(
        &mut self,
        certificate: Certificate,
        replace: bool,
        context: &Context<'_>,
    ) -> Result<Effect, Refusal> {
        let name = certificate.name.clone();
        if !replace && self.certificates.contains_key(&name) {
            return Err(exists(Kind::Certificate, &name, "`--replace` renews it in place"));
        }
        self.certificate_put(certificate, context)?;
        Ok(Effect::of(Kind::Certificate, name))
    }

    /// Adds a certificate or renews the one of that name.
    pub(super) fn certificate_put(
        &mut self,
        certificate: Certificate,
        context: &Context<'_>,
    ) -> Result<(), Refusal> {
        let named = |mut refusal: Refusal| {
            refusal.message = format!("certificate `{}`: {}", certificate.name, refusal.message);
            refusal
        };
        known_gateway(&certificate.gateway)?;
        let key = self.find_key(&certificate, context).map_err(named)?;
        let key_fingerprint = key.fingerprint();
        if let Some(held) = self.certificates.get(&certificate.name)
            && held.pem == certificate.chain
            && held.key_fingerprint == key_fingerprint
            && held.gateway == certificate.gateway
        {
            // Not even its age is looked at: what is there is not made worse by naming it again.
            return Ok(());
        }
        let chain = Chain::parse(&certificate.chain).map_err(named)?;
        key.matches(&chain).map_err(named)?;
        chain.current(i64::try_from(context.now.as_secs()).unwrap_or(i64::MAX)).map_err(named)?;
        let record = CertificateRecord {
            name: certificate.name.clone(),
            gateway: certificate.gateway.clone(),
            material: Some(Material::new(&certificate.name, chain, key)),
            pem: certificate.chain,
            key_fingerprint,
        };
        self.certificates.insert(certificate.name, Arc::new(record));
        Ok(())
    }

    pub(super) fn find_key(&self, certificate: &Certificate, context: &Context<'_>) -> Result<Key, Refusal> {
        match (&certificate.key, &certificate.key_fingerprint) {
            (Some(pem), fingerprint) => {
                let key = Key::parse(pem)?;
                match fingerprint {
                    Some(fingerprint) if key.fingerprint() != *fingerprint => {
                        Err(Refusal::new("conflict", "key and key_fingerprint name two keys")
                            .field("key_fingerprint", fingerprint)
                            .limit(key.fingerprint())
                            .remedy("leave out the fingerprint"))
                    }
                    Some(_) | None => Ok(key),
                }
            }
            (None, Some(fingerprint)) => {
                let held = self.certificates.values().find(|record| record.key_fingerprint == *fingerprint);
                let held =
                    held.and_then(|record| record.material.as_ref()).map(|material| material.key.clone());
                held.or_else(|| (context.key)(fingerprint)).ok_or_else(|| {
                    Refusal::new("missing_secret", "its private key is not in this state")
                        .field("key_fingerprint", fingerprint)
                        .remedy("give the key itself, or export with `--with-secrets` where the key is")
                })
            }
            (None, None) => Err(Refusal::new("missing_field", "it has no private key")
                .field("key", "(absent)")
                .remedy("give the key in PEM")),
        }
    }

    pub(super) fn certificate_delete(&mut self, name: &Name) -> Result<Effect, Refusal> {
        let users = self.domains.values().filter(|domain| domain.cert.as_ref() == Some(name));
        let mut users: Vec<String> = users.map(|domain| format!("domain `{}`", domain.host)).collect();
        let offers = self.endpoint_services.values().filter(|one| one.cert.as_ref() == Some(name));
        users.extend(offers.map(|one| format!("endpoint service `{}`", one.name)));
        if !users.is_empty() {
            return Err(in_use(Kind::Certificate, name, &users));
        }
        match self.certificates.remove(name) {
            Some(_) => Ok(Effect::of(Kind::Certificate, name)),
            None => Err(not_found(Kind::Certificate, name)),
        }
    }

    pub(super) fn domain_add(&mut self, domain: Domain, replace: bool) -> Result<Effect, Refusal> {
        let host = domain.host.clone();
        if !replace && self.domains.contains_key(&host) {
            return Err(exists(Kind::Domain, host.as_str(), "`--replace` changes it in place"));
        }
        self.domain_put(domain)?;
        Ok(Effect::of(Kind::Domain, host))
    }

    pub(super) fn domain_put(&mut self, domain: Domain) -> Result<(), Refusal> {
        domain.validate()?;
        known_gateway(&domain.gateway)?;
        if self.domains.get(&domain.host).is_none_or(|held| **held != domain) {
            self.domains.insert(domain.host.clone(), Arc::new(domain));
        }
        Ok(())
    }

    pub(super) fn domain_delete(&mut self, host: &Host) -> Result<Effect, Refusal> {
        let users = self.routes.values().filter(|route| route.host.as_ref() == Some(host));
        let users: Vec<String> = users.map(|route| format!("route `{}`", route.name)).collect();
        if !users.is_empty() && self.domains.contains_key(host) {
            return Err(in_use(Kind::Domain, host.as_str(), &users));
        }
        match self.domains.remove(host) {
            Some(_) => Ok(Effect::of(Kind::Domain, host)),
            None => Err(not_found(Kind::Domain, host.as_str())),
        }
    }
}
