//! Pure: a certificate chain with its private key, and whether the two can serve TLS together.

use std::{fmt, sync::Arc};

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};
use x509_parser::{extensions::GeneralName, prelude::FromDer, prelude::X509Certificate};

use super::{gateway::default_name, token::Fingerprint};
use crate::base::{Name, Refusal};

/// Longest chain in certificates.
pub const MAX_CHAIN: usize = 10;
/// Largest PEM text in bytes.
pub const MAX_PEM: usize = 256 * 1024;

/// A certificate as operators write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub name: Name,
    #[serde(default = "default_name")]
    pub gateway: Name,
    /// PEM, leaf first.
    pub chain: String,
    /// PEM (PKCS#8, SEC1 or PKCS#1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyPem>,
    /// A key that this state already has (`export`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<Fingerprint>,
}

/// A private key in PEM, kept out of logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyPem(pub String);

impl fmt::Debug for KeyPem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyPem(…)")
    }
}

/// A parsed chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// DER, leaf first.
    pub der: Vec<Vec<u8>>,
    /// DNS names of the leaf, lower case.
    pub names: Vec<String>,
    /// Validity in seconds since the Unix epoch, the narrowest of the chain.
    pub not_before: i64,
    pub not_after: i64,
    /// Subject of the leaf.
    pub subject: String,
    /// Issuer of the leaf.
    pub issuer: String,
}

/// A private key in DER.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub Arc<[u8]>);

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(…)")
    }
}

// === impl Chain ===

impl Chain {
    /// Parses PEM and checks that every certificate is issued by the one behind it.
    ///
    /// # Errors
    /// Garbage, an empty or too long chain, or one in the wrong order.
    pub fn parse(pem: &str) -> Result<Self, Refusal> {
        if pem.len() > MAX_PEM {
            return Err(Refusal::new("limit", "the chain is too large")
                .field("chain", format_args!("{} bytes", pem.len()))
                .limit(format_args!("{MAX_PEM} bytes"))
                .remedy("give the leaf and its intermediates only"));
        }
        let mut der = Vec::new();
        for block in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let block = block.map_err(|error| garbage("chain", &error))?;
            der.push(block.as_ref().to_vec());
        }
        if der.is_empty() {
            return Err(Refusal::new("invalid_certificate", "there is no certificate in the chain")
                .field("chain", format_args!("{} bytes", pem.len()))
                .remedy("give PEM with `-----BEGIN CERTIFICATE-----`, leaf first"));
        }
        if der.len() > MAX_CHAIN {
            return Err(Refusal::new("limit", "the chain has too many certificates")
                .field("chain", der.len())
                .limit(MAX_CHAIN)
                .remedy("leave out what clients trust already"));
        }
        let mut parsed = Vec::new();
        for (place, bytes) in der.iter().enumerate() {
            let (rest, certificate) = X509Certificate::from_der(bytes)
                .map_err(|error| garbage(&format!("chain[{place}]"), &error))?;
            if !rest.is_empty() {
                return Err(garbage(&format!("chain[{place}]"), &"bytes follow the certificate"));
            }
            parsed.push(certificate);
        }
        ordered(&parsed)?;
        let Some(leaf) = parsed.first() else { return Err(garbage("chain", &"empty")) };
        let names = dns_names(leaf)?;
        let span = |pick: fn(&X509Certificate<'_>) -> i64| parsed.iter().map(pick).collect::<Vec<_>>();
        let not_before = span(|one| one.validity().not_before.timestamp()).into_iter().max().unwrap_or(0);
        let not_after = span(|one| one.validity().not_after.timestamp()).into_iter().min().unwrap_or(0);
        let (subject, issuer) = (leaf.subject().to_string(), leaf.issuer().to_string());
        drop(parsed);
        Ok(Self { names, not_before, not_after, subject, issuer, der })
    }

    /// Checks that the chain is valid now.
    ///
    /// # Errors
    /// Expired or not valid yet.
    pub fn current(&self, now: i64) -> Result<(), Refusal> {
        if now > self.not_after {
            return Err(Refusal::new("certificate_expired", "the certificate has expired")
                .field("not_after", self.not_after)
                .limit(format_args!("valid at {now}"))
                .remedy("renew it and add the new one"));
        }
        if now < self.not_before {
            return Err(Refusal::new("certificate_not_yet_valid", "the certificate is not valid yet")
                .field("not_before", self.not_before)
                .limit(format_args!("valid at {now}"))
                .remedy("check this machine's clock or wait"));
        }
        Ok(())
    }
}

// === impl Key ===

impl Key {
    /// Parses PEM.
    ///
    /// # Errors
    /// Garbage, an encrypted key, or no key.
    pub fn parse(pem: &KeyPem) -> Result<Self, Refusal> {
        if pem.0.len() > MAX_PEM {
            return Err(Refusal::new("limit", "the key is too large")
                .field("key", "(not shown)")
                .limit(MAX_PEM)
                .remedy("give one key"));
        }
        if pem.0.contains("ENCRYPTED") {
            return Err(Refusal::new("invalid_key", "the private key is encrypted")
                .field("key", "(not shown)")
                .remedy("decrypt it first: `openssl pkey -in FILE -out PLAIN`"));
        }
        let key = PrivateKeyDer::from_pem_slice(pem.0.as_bytes()).map_err(|_| {
            Refusal::new("invalid_key", "there is no private key in this text")
                .field("key", "(not shown)")
                .limit("one PEM block: PKCS#8, SEC1 or PKCS#1")
                .remedy("give the key file in PEM, not encrypted")
        })?;
        Ok(Self(key.secret_der().into()))
    }

    /// The name that export and status use for the key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(b"private key", &self.0)
    }

    /// The key as PEM, for `export --with-secrets`.
    #[must_use]
    pub fn pem(&self) -> KeyPem {
        let word = match PrivateKeyDer::try_from(&*self.0) {
            Ok(PrivateKeyDer::Pkcs1(_)) => "RSA PRIVATE KEY",
            Ok(PrivateKeyDer::Sec1(_)) => "EC PRIVATE KEY",
            Ok(_) | Err(_) => "PRIVATE KEY",
        };
        let mut text = format!("-----BEGIN {word}-----\n");
        for line in base64(&self.0).as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str(&format!("-----END {word}-----\n"));
        KeyPem(text)
    }

    /// Checks that the key is the leaf's.
    ///
    /// # Errors
    /// A key type that TLS cannot use, or another certificate's key.
    pub fn matches(&self, chain: &Chain) -> Result<(), Refusal> {
        let key = PrivateKeyDer::try_from(&*self.0).map_err(|error| {
            Refusal::new("invalid_key", error)
                .field("key", "(not shown)")
                .remedy("give the key file in PEM, not encrypted")
        })?;
        let key = any_supported_type(&key).map_err(|error| {
            Refusal::new("invalid_key", format_args!("TLS cannot use this private key: {error}"))
                .field("key", "(not shown)")
                .limit("RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, Ed25519")
                .remedy("request a certificate with such a key")
        })?;
        let certified =
            |der: &[u8]| CertifiedKey::new(vec![CertificateDer::from(der.to_vec())], Arc::clone(&key));
        let Some(leaf) = chain.der.first() else { return Err(garbage("chain", &"empty")) };
        match certified(leaf).keys_match() {
            Ok(()) => Ok(()),
            Err(rustls::Error::InconsistentKeys(_)) => {
                if chain.der.iter().skip(1).any(|other| certified(other).keys_match().is_ok()) {
                    return Err(wrong_order());
                }
                Err(Refusal::new("key_mismatch", "the private key is not the certificate's")
                    .field("key", self.fingerprint())
                    .remedy("give the key that the certificate was requested with"))
            }
            Err(error) => Err(garbage("chain", &error)),
        }
    }
}

fn garbage(field: &str, error: &dyn fmt::Display) -> Refusal {
    Refusal::new("invalid_certificate", "this is not a certificate")
        .field(field, super::clip(&error.to_string()))
        .remedy("give PEM with `-----BEGIN CERTIFICATE-----`, leaf first")
}

fn wrong_order() -> Refusal {
    Refusal::new("wrong_order", "the chain is in the wrong order")
        .field("chain", "the leaf is not first")
        .remedy("put the leaf first, then the certificate that issued it, and so on")
}

fn ordered(chain: &[X509Certificate<'_>]) -> Result<(), Refusal> {
    let issued = |one: &X509Certificate<'_>, by: &X509Certificate<'_>| {
        one.issuer() == by.subject() && one.verify_signature(Some(by.public_key())).is_ok()
    };
    for (place, pair) in chain.windows(2).enumerate() {
        let [one, next] = pair else { continue };
        if issued(one, next) {
            continue;
        }
        let elsewhere = chain.iter().enumerate().any(|(other, by)| other != place && issued(one, by));
        let upside_down = issued(next, one);
        return Err(if elsewhere || upside_down {
            wrong_order()
        } else {
            Refusal::new("broken_chain", "a certificate of the chain is not issued by the one behind it")
                .field(format_args!("chain[{}]", place + 1), next.subject())
                .limit(format_args!("issued by {}", one.issuer()))
                .remedy("leave it out or give the issuer's certificate")
        });
    }
    Ok(())
}

fn dns_names(leaf: &X509Certificate<'_>) -> Result<Vec<String>, Refusal> {
    let names = leaf.subject_alternative_name().map_err(|error| garbage("chain[0]", &error))?;
    let mut out: Vec<String> = Vec::new();
    for general in names.iter().flat_map(|extension| &extension.value.general_names) {
        if let GeneralName::DNSName(name) = general {
            let name = name.to_ascii_lowercase();
            if !out.contains(&name) {
                out.push(name);
            }
        }
    }
    Ok(out)
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place > chunk.len() {
                out.push('=');
            } else {
                let index = (word >> (18 - 6 * place)) & 63;
                out.push(char::from(ALPHABET.get(index as usize).copied().unwrap_or_default()));
            }
        }
    }
    out
}
