//! Pure: the state as a document.

use serde_json::Value;

use super::{CertificateRecord, ListenerRecord, ServiceRecord, State};
use crate::{
    control::Document,
    resource::{Allowlist, Certificate, Endpoint, Kind, Listener, Service, Vpc},
};

/// The field that names a private network's large allowlist in place of `allow`.
pub const LIST: &str = "allow_list";

/// How a document names secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// By fingerprint: `export`, `diff`.
    Fingerprints,
    /// Tokens by hash, keys by fingerprint: the history.
    Hashes,
    /// Tokens by hash, keys in PEM: `export --with-secrets`.
    Whole,
}

impl State {
    /// The whole configuration in its declarative form.
    #[must_use]
    pub fn export(&self, secrets: Secrets) -> Document {
        Document {
            // `default` is always there and has nothing to say.
            gateway: Vec::new(),
            listener: self
                .listeners
                .iter()
                .filter(|(name, _)| name.vpc().is_none() && name.endpoint().is_none())
                .map(|(_, record)| listener(record))
                .collect(),
            account: self.accounts.values().map(|account| (**account).clone()).collect(),
            vpc: self.vpcs.values().map(|vpc| self.vpc_form(vpc)).collect(),
            certificate: self.certificates.values().map(|record| certificate(record, secrets)).collect(),
            domain: self.domains.values().map(|domain| (**domain).clone()).collect(),
            service: self.services.values().map(|record| service(record, secrets)).collect(),
            route: self.routes.values().map(|route| (**route).clone()).collect(),
            endpoint_service: self.endpoint_services.values().map(|one| (**one).clone()).collect(),
            endpoint: self.endpoints.values().map(|record| self.endpoint_form(&record.endpoint)).collect(),
        }
    }

    /// One resource in its declarative form; a large allowlist by name, in the field [`LIST`].
    #[must_use]
    pub fn form(&self, kind: Kind, name: &str, secrets: Secrets) -> Option<Value> {
        let form = match kind {
            Kind::Gateway => return None,
            Kind::Listener => serde_json::to_value(listener(self.listeners.get(name)?)),
            Kind::Account => serde_json::to_value(self.accounts.get(name)?),
            Kind::Vpc => {
                let vpc = self.vpcs.get(name)?;
                let record = self.vpc_listener(vpc)?;
                let Some(large) = record.entries.large() else {
                    return serde_json::to_value(self.vpc_form(vpc)).ok();
                };
                let mut form = serde_json::to_value(vpc.with(&record.listener)).ok()?;
                form.as_object_mut()?.insert(LIST.to_owned(), large.digest().into());
                return Some(form);
            }
            Kind::Certificate => serde_json::to_value(certificate(self.certificates.get(name)?, secrets)),
            Kind::Domain => serde_json::to_value(self.domains.get(name)?),
            Kind::Service => serde_json::to_value(service(self.services.get(name)?, secrets)),
            Kind::Route => serde_json::to_value(self.routes.get(name)?),
            Kind::EndpointService => serde_json::to_value(self.endpoint_services.get(name)?),
            Kind::Endpoint => serde_json::to_value(self.endpoint_form(&self.endpoints.get(name)?.endpoint)),
        };
        form.ok()
    }
}

impl State {
    /// A private network together with what its listener has.
    fn vpc_form(&self, vpc: &Vpc) -> Vpc {
        let Some(record) = self.vpc_listener(vpc) else { return vpc.clone() };
        Vpc { allow: Some(listener(record).allow), ..vpc.with(&record.listener) }
    }

    /// An endpoint together with what its listeners have.
    fn endpoint_form(&self, endpoint: &Endpoint) -> Endpoint {
        let listeners = self.endpoint_listeners(endpoint);
        let Some(record) = listeners.first() else { return endpoint.clone() };
        let Listener { open, allow, .. } = listener(record);
        Endpoint { open, security_group: allow, ..endpoint.clone() }
    }
}

fn listener(record: &ListenerRecord) -> Listener {
    let allow = Allowlist::from_sorted(record.entries.cidrs().collect());
    Listener { allow, ..record.listener.clone() }
}

fn certificate(record: &CertificateRecord, secrets: Secrets) -> Certificate {
    let material = record.material.as_ref().filter(|_| secrets == Secrets::Whole);
    let key = material.map(|material| material.key.pem());
    Certificate {
        name: record.name.clone(),
        gateway: record.gateway.clone(),
        chain: record.pem.clone(),
        key_fingerprint: key.is_none().then(|| record.key_fingerprint.clone()),
        key,
    }
}

fn service(record: &ServiceRecord, secrets: Secrets) -> Service {
    let (token_fingerprints, token_hashes) = match secrets {
        Secrets::Fingerprints => {
            (record.tokens.iter().map(|token| token.hash.fingerprint()).collect(), Vec::new())
        }
        Secrets::Hashes | Secrets::Whole => (Vec::new(), record.tokens.clone()),
    };
    Service { token_fingerprints, token_hashes, ..record.service.clone() }
}
