//! The certificate for a name: exact, then wildcard, then the default.

use std::{cell::RefCell, collections::HashMap, fmt, sync::Arc};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::proxy::config::UnknownSni;

/// A certificate with the names that it covers.
pub(crate) struct Named {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) names: Arc<[String]>,
}

/// Whom a client asked for (lower case), and the certificate that it was shown.
pub(crate) struct Shown {
    pub(crate) name: Option<Box<str>>,
    pub(crate) certificate: Option<Arc<Named>>,
}

thread_local! {
    /// What the resolver was asked on this thread since [`noting`] began. rustls' unbuffered API does not tell the
    /// client's SNI, and the resolver, which is called in the middle of it, does not know the connection.
    static SHOWN: RefCell<Option<Shown>> = const { RefCell::new(None) };
}

/// Runs a step of a handshake and says what the resolver was asked meanwhile.
pub(super) fn noting<T>(step: impl FnOnce() -> T) -> (T, Option<Shown>) {
    let result = step();
    (result, SHOWN.take())
}

/// The certificates of one listener. Immutable: a change is a new one.
#[derive(Default)]
pub(crate) struct Certificates {
    exact: HashMap<Box<str>, Arc<Named>>,
    /// Keyed by the part after `*`.
    wildcards: HashMap<Box<str>, Arc<Named>>,
    default: Option<Arc<Named>>,
    unknown: UnknownSni,
}

impl Certificates {
    pub(super) fn new<'a>(
        domains: impl Iterator<Item = (&'a str, Arc<Named>)>,
        default: Option<Arc<Named>>,
        unknown: UnknownSni,
    ) -> Self {
        let mut certificates = Self { default, unknown, ..Self::default() };
        for (host, named) in domains {
            match host.strip_prefix('*') {
                Some(suffix) => certificates.wildcards.insert(suffix.into(), named),
                None => certificates.exact.insert(host.into(), named),
            };
        }
        certificates
    }

    /// What a client gets that asks for `name` (lower case).
    pub(crate) fn find(&self, name: Option<&str>) -> Option<&Arc<Named>> {
        let Some(name) = name else { return self.default.as_ref() };
        let known = self
            .exact
            .get(name)
            .or_else(|| self.wildcards.get(name.find('.').and_then(|dot| name.get(dot..))?));
        match self.unknown {
            UnknownSni::Default => known.or(self.default.as_ref()),
            UnknownSni::Reject => known,
        }
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.exact.keys()).entries(self.wildcards.keys()).finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // RFC 6066 §3: names are compared without regard to case.
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let certificate = self.find(name.as_deref()).cloned();
        let key = certificate.as_ref().map(|named| Arc::clone(&named.key));
        SHOWN.set(Some(Shown { name: name.map(Into::into), certificate }));
        key
    }
}
