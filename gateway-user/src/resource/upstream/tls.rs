//! Pure: TLS towards a service's instances, and the authorities that their certificates are checked against.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    base::Refusal,
    resource::{Host, certificate::MAX_PEM, clip, read::text_form, token::Fingerprint},
};

/// Most authorities of one service.
const MAX_AUTHORITIES: usize = 64;

/// Whether the instances are spoken to in TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    #[default]
    Off,
    /// The instance's certificate is checked against `tls_ca`, or the host's own trust store.
    Verify,
    /// Encrypted, but anybody may be at the other end.
    Insecure,
}

/// Authorities in PEM, parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities(Arc<Parsed>);

#[derive(PartialEq, Eq)]
struct Parsed {
    pem: String,
    der: Vec<Vec<u8>>,
    subjects: Vec<String>,
}

/// Checks that nothing is said of TLS that is off or checks nothing.
pub(in crate::resource) fn check(
    tls: Tls,
    server_name: Option<&Host>,
    authorities: Option<&Authorities>,
) -> Result<(), Refusal> {
    if let Some(name) = server_name {
        if name.is_wildcard() {
            return Err(Refusal::new("invalid_host", "a server is asked for by its whole name")
                .field("tls_server_name", name)
                .remedy("give the name that is in its certificate"));
        }
        if tls == Tls::Off {
            return Err(idle("tls_server_name", &name));
        }
    }
    match (authorities, tls) {
        (Some(authorities), Tls::Off | Tls::Insecure) => Err(idle("tls_ca", &authorities.fingerprint())),
        (Some(_), Tls::Verify) | (None, _) => Ok(()),
    }
}

fn idle(field: &str, value: &dyn fmt::Display) -> Refusal {
    Refusal::new("conflict", "nothing would be checked with this")
        .field(field, value)
        .limit("tls = verify")
        .remedy(format_args!("set `tls` to verify, or leave `{field}` out"))
}

// === impl Authorities ===

impl Authorities {
    /// The authorities in DER.
    #[must_use]
    pub fn der(&self) -> &[Vec<u8>] {
        &self.0.der
    }

    /// Who they are.
    #[must_use]
    pub fn subjects(&self) -> &[String] {
        &self.0.subjects
    }

    /// A short name for them, to compare by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(b"authorities", self.0.pem.as_bytes())
    }
}

impl FromStr for Authorities {
    type Err = Refusal;

    fn from_str(pem: &str) -> Result<Self, Refusal> {
        let refused = |code: &str, why: &str, value: &dyn fmt::Display| {
            Refusal::new(code, why)
                .field("tls_ca", value)
                .remedy("give the authorities' certificates in PEM, `-----BEGIN CERTIFICATE-----` and so on")
        };
        if pem.len() > MAX_PEM {
            return Err(refused("limit", "the authorities are too large", &pem.len()).limit(MAX_PEM));
        }
        let (mut der, mut subjects) = (Vec::new(), Vec::new());
        for block in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let garbage = |error: &dyn fmt::Display| {
                refused("invalid_certificate", "this is not a certificate", &clip(&error.to_string()))
            };
            let block = block.map_err(|error| garbage(&error))?;
            let (rest, certificate) = X509Certificate::from_der(&block).map_err(|error| garbage(&error))?;
            if !rest.is_empty() {
                return Err(garbage(&"bytes follow the certificate"));
            }
            // RFC 5280 §4.2.1.9 and §4.2.1.3: what is no authority cannot have issued an instance's certificate.
            let subject = clip(&certificate.subject().to_string());
            let signs = certificate.key_usage().map_err(|error| garbage(&error))?;
            if !certificate.is_ca() || signs.is_some_and(|usage| !usage.value.key_cert_sign()) {
                return Err(refused("not_an_authority", "this certificate is not an authority's", &subject)
                    .limit("basic constraints CA:TRUE, and a key that may sign certificates")
                    .remedy("give the certificate of who issued the instances' certificates"));
            }
            subjects.push(subject);
            der.push(block.as_ref().to_vec());
        }
        if der.is_empty() {
            let size = format!("{} bytes", pem.len());
            return Err(refused("invalid_certificate", "there is no certificate in this text", &size));
        }
        if der.len() > MAX_AUTHORITIES {
            return Err(refused("limit", "too many authorities", &der.len())
                .limit(MAX_AUTHORITIES)
                .remedy("leave `tls_ca` out to trust what the host trusts"));
        }
        Ok(Self(Arc::new(Parsed { pem: pem.to_owned(), der, subjects })))
    }
}

impl fmt::Display for Authorities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.pem)
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Authorities({:?})", self.0.subjects)
    }
}

text_form!(Authorities);
