//! A certificate authority of a test's own.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::scratch::Scratch;

/// An authority that signs whatever a test needs.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// A leaf certificate with its key.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The leaf alone.
    pub certificate: String,
    /// Leaf first, then the authority.
    pub chain: String,
    pub key: String,
}

/// Files of a leaf.
#[derive(Clone, Debug)]
pub struct Files {
    pub chain: PathBuf,
    pub key: PathBuf,
}

// === impl Authority ===

impl Authority {
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Authorities of one name are one to OpenSSL, which then finds bad signatures instead of a stranger.
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Test authority {}", crate::netns::unique()));
        let key = KeyPair::generate().expect("key");
        let pem = params.self_signed(&key).expect("self-signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A leaf for these DNS names.
    #[must_use]
    #[track_caller]
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_with(names, |_| {})
    }

    /// A leaf for these DNS names that ended on 1 January 2021.
    #[must_use]
    #[track_caller]
    pub fn expired(&self, names: &[&str]) -> Leaf {
        self.leaf_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    fn leaf_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Leaf { chain: format!("{certificate}{}", self.pem), certificate, key: key.serialize_pem() }
    }

    /// Writes the authority's certificate to a file.
    #[track_caller]
    pub fn write(&self, scratch: &Scratch) -> PathBuf {
        scratch.write("authority.pem", &self.pem)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Leaf ===

impl Leaf {
    /// Writes chain and key to files named after `name`.
    #[track_caller]
    pub fn write(&self, scratch: &Scratch, name: &str) -> Files {
        Files {
            chain: scratch.write(&format!("{name}.chain.pem"), &self.chain),
            key: scratch.write(&format!("{name}.key.pem"), &self.key),
        }
    }
}

// === impl Files ===

impl Files {
    #[must_use]
    pub fn chain(&self) -> &str {
        text(&self.chain)
    }

    #[must_use]
    pub fn key(&self) -> &str {
        text(&self.key)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}
