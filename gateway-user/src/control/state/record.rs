//! Pure: what the state keeps of a resource beside what operators write: ids, hashes, drains.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Entries;
use crate::{
    base::Name,
    resource::{
        Endpoint, Listener, Service,
        certificate::{Chain, Key},
        token::{Fingerprint, Token},
    },
    snapshot::http,
};

/// The last id of a listener; the filter has counters for 1 … 511.
pub(super) const LAST_LISTENER_ID: u16 = 511;
/// Counter positions of one listener's entries in the filter; the last one is a large list's.
pub(super) const ENTRY_IDS: u8 = 31;

/// A listener with its stable ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerRecord {
    /// Counter id, 1 … 511.
    pub id: u16,
    /// Its `allow` is empty: `entries` has them.
    pub listener: Listener,
    pub entries: Entries,
    /// Sorted by CIDR; never also in `entries`.
    pub draining: Vec<Draining>,
    /// The last entry id that was handed out; the next one is looked for behind it.
    pub last_entry: u8,
    /// Until when (seconds since the Unix epoch) what the list would drop passes.
    pub monitor: Option<u64>,
}

/// An endpoint. What its listeners have is not kept twice: its switch is open and its security group empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// Region and interfaces are filled in.
    pub endpoint: Endpoint,
    /// What its creation asked for.
    pub request: Fingerprint,
}

/// One CIDR of an allowlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    pub cidr: IpNet,
    /// Counter position.
    pub id: u8,
}

/// A CIDR that was removed with `--drain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Draining {
    pub cidr: IpNet,
    /// Counter position.
    pub id: u8,
    /// Seconds since the Unix epoch.
    pub until: u64,
}

/// A certificate; its key is stored apart and stays out of this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    pub name: Name,
    pub gateway: Name,
    /// The chain in PEM.
    pub pem: String,
    pub key_fingerprint: Fingerprint,
    /// Present in every state that is served; absent only between reading the store and finding the key.
    #[serde(skip)]
    pub material: Option<Material>,
}

/// The parsed chain and key of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    pub chain: Arc<Chain>,
    pub key: Key,
    /// What the data path gets.
    pub compiled: Arc<http::Certificate>,
}

/// A service with its tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its token fields are empty: `tokens` has them.
    pub service: Service,
    pub tokens: Vec<Token>,
}

// === impl Material ===

impl Material {
    /// Puts a parsed chain and its key together.
    #[must_use]
    pub fn new(name: &Name, chain: Chain, key: Key) -> Self {
        let compiled = http::Certificate {
            name: name.clone(),
            chain: chain.der.clone(),
            key: Arc::clone(&key.0),
            names: chain.names.clone(),
            not_after: chain.not_after,
        };
        Self { chain: Arc::new(chain), key, compiled: Arc::new(compiled) }
    }
}
