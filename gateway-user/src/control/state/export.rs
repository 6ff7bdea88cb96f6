//! Pure: the state as a document.

use super::State;
use crate::{
    control::Document,
    resource::{Allowlist, Certificate, Service},
};

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
        let listener = self.listeners.values().map(|record| {
            let mut listener = record.listener.clone();
            listener.allow = Allowlist::from_cidrs(record.entries.iter().map(|entry| entry.cidr));
            listener
        });
        let certificate = self.certificates.values().map(|record| {
            let material = record.material.as_ref().filter(|_| secrets == Secrets::Whole);
            let key = material.map(|material| material.key.pem());
            Certificate {
                name: record.name.clone(),
                gateway: record.gateway.clone(),
                chain: record.pem.clone(),
                key_fingerprint: key.is_none().then(|| record.key_fingerprint.clone()),
                key,
            }
        });
        let service = self.services.values().map(|record| {
            let (token_fingerprints, token_hashes) = match secrets {
                Secrets::Fingerprints => {
                    (record.tokens.iter().map(|token| token.hash.fingerprint()).collect(), Vec::new())
                }
                Secrets::Hashes | Secrets::Whole => (Vec::new(), record.tokens.clone()),
            };
            Service { token_fingerprints, token_hashes, ..record.service.clone() }
        });
        Document {
            // `default` is always there and has nothing to say.
            gateway: Vec::new(),
            listener: listener.collect(),
            certificate: certificate.collect(),
            domain: self.domains.values().map(|domain| (**domain).clone()).collect(),
            service: service.collect(),
            route: self.routes.values().map(|route| (**route).clone()).collect(),
        }
    }
}
