//! TLS towards clients: one server configuration per listener, certificates chosen by SNI.
//!
//! A certificate change is a new [`TlsView`] in the next view: the handshake that follows shows it, connections that
//! are open keep what they have.

mod default_certificate;
mod resolver;
mod session;

use std::{collections::HashMap, io, path::Path, sync::Arc};

use rustls::{
    CipherSuite, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::NoServerSessionStorage,
    sign::CertifiedKey,
};

pub(crate) use resolver::{Certificates, Named};
pub(crate) use session::Session;

use super::config::UnknownSni;
use crate::{
    base::Refusal,
    snapshot::{Exposure, Listener, Snapshot, http::Certificate},
};

/// A listener's TLS side.
pub(crate) struct TlsView {
    pub(crate) config: Arc<ServerConfig>,
}

/// Makes TLS views. Lives on the control thread.
pub(crate) struct Tls {
    template: ServerConfig,
    provider: Arc<CryptoProvider>,
    default: Arc<Named>,
    unknown: UnknownSni,
    /// Parsed certificates of the last snapshot.
    parsed: HashMap<String, (Arc<Certificate>, Arc<Named>)>,
}

impl Tls {
    /// Reads or makes the default certificate.
    ///
    /// # Errors
    /// The file cannot be read, parsed or written.
    pub(crate) fn new(default_certificate: Option<&Path>, unknown: UnknownSni) -> io::Result<Self> {
        let provider = Arc::new(provider());
        let (chain, key) = default_certificate::load(default_certificate)?;
        let default = Arc::new(Named::new(&chain, &key, Vec::new(), &provider).map_err(io::Error::other)?);
        let mut template = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Certificates::default()));
        template.ignore_client_order = true;
        template.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // One ticket is enough for API clients. Tickets are stateless, under keys that all workers share and that are
        // renewed by themselves, so no session store is kept.
        template.send_tls13_tickets = 1;
        template.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(io::Error::other)?;
        template.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { template, provider, default, unknown, parsed: HashMap::new() })
    }

    /// Parses the certificates of a snapshot that are not known yet. Everything else here cannot fail.
    ///
    /// # Errors
    /// A certificate or key is not usable.
    pub(crate) fn prepare(&mut self, snapshot: &Snapshot) -> Result<(), Refusal> {
        let mut parsed = HashMap::with_capacity(snapshot.certificates.len());
        for certificate in &snapshot.certificates {
            let name = certificate.name.to_string();
            let named = match self.parsed.get(&name) {
                Some((old, named)) if old == certificate => Arc::clone(named),
                _ => {
                    let named = Named::new(
                        &certificate.chain,
                        &certificate.key,
                        certificate.names.clone(),
                        &self.provider,
                    );
                    Arc::new(named.map_err(|error| {
                        Refusal::new("certificate_unusable", format!("certificate {name}: {error}"))
                            .field("certificate", &name)
                    })?)
                }
            };
            parsed.insert(name, (Arc::clone(certificate), named));
        }
        self.parsed = parsed;
        Ok(())
    }

    /// The TLS side of `listener`: the certificates of the domains that are visible on it, or of its endpoint.
    pub(crate) fn view(&self, listener: &Listener, snapshot: &Snapshot) -> Arc<TlsView> {
        let domains = snapshot
            .domains
            .iter()
            .filter(|domain| {
                domain.gateway == listener.gateway && domain.visibility.admits(&listener.exposure)
            })
            .map(|domain| (domain.host.as_str(), &domain.certificate));
        let endpoints = snapshot
            .endpoints
            .iter()
            .filter(|endpoint| {
                endpoint.gateway == listener.gateway
                    && listener.exposure == Exposure::Endpoint(endpoint.name.clone())
            })
            .map(|endpoint| (endpoint.fqdn.as_str(), &endpoint.certificate));
        let certified = domains.chain(endpoints).filter_map(|(host, certificate)| {
            let (_, named) = self.parsed.get(certificate.as_ref()?.as_str())?;
            Some((host, Arc::clone(named)))
        });
        let default = Some(Arc::clone(&self.default));
        let certificates = Arc::new(Certificates::new(certified, default, self.unknown));
        let mut config = self.template.clone();
        config.cert_resolver = certificates;
        Arc::new(TlsView { config: Arc::new(config) })
    }
}

/// AES-128-GCM-SHA256 first: its key schedule uses the CPU's SHA-256, which makes a handshake 15 % cheaper than with
/// SHA-384 (`research/proxy-perf.md` §5).
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let preferred = |suite: CipherSuite| {
        !matches!(
            suite,
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    };
    // Stable: within each half the provider's order stays, TLS 1.3 before 1.2.
    provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), preferred(suite.suite())));
    provider
}

impl Named {
    fn new(
        chain: &[Vec<u8>],
        key: &[u8],
        names: Vec<String>,
        provider: &CryptoProvider,
    ) -> Result<Self, String> {
        let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let key = PrivateKeyDer::try_from(key.to_vec()).map_err(str::to_owned)?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())?;
        Ok(Self { key: Arc::new(key), names: names.into() })
    }
}
