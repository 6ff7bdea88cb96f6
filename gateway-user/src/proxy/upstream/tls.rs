//! TLS towards instances: one client configuration for equal settings, made on the control thread.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{
    base::Refusal,
    proxy::tls::provider,
    snapshot::{
        Snapshot,
        http::Service,
        upstream::{Tls, Verify},
    },
};

/// What TLS connections to a service's instances are made with.
#[derive(Debug)]
pub(crate) struct ClientTls {
    pub(crate) settings: Tls,
    pub(crate) http2: bool,
    pub(crate) config: Arc<ClientConfig>,
}

/// The configurations in use. Lives on the control thread.
pub(crate) struct Clients {
    provider: Arc<CryptoProvider>,
    /// The host's trust store, read when it is needed for the first time.
    system: Option<Arc<RootCertStore>>,
    made: Vec<Arc<ClientTls>>,
}

// === impl Clients ===

impl Clients {
    pub(crate) fn new() -> Self {
        Self { provider: Arc::new(provider()), system: None, made: Vec::new() }
    }

    /// Makes what the snapshot's services need and forgets the rest. Equal settings share a configuration, hence the
    /// sessions that are resumed, and keep it over edits.
    ///
    /// # Errors
    /// An authority cannot be used.
    pub(crate) fn prepare(&mut self, snapshot: &Snapshot) -> Result<(), Refusal> {
        let mut made = Vec::new();
        for service in &snapshot.services {
            let Some(settings) = &service.upstream.tls else { continue };
            let http2 = service.protocol.is_http2();
            if find(&made, settings, http2).is_some() {
                continue;
            }
            made.push(match find(&self.made, settings, http2) {
                Some(client) => client,
                None => Arc::new(self.make(service, settings, http2)?),
            });
        }
        self.made = made;
        Ok(())
    }

    /// What `prepare` made for the service; `None`: plain TCP.
    pub(crate) fn of(&self, service: &Service) -> Option<Arc<ClientTls>> {
        find(&self.made, service.upstream.tls.as_ref()?, service.protocol.is_http2())
    }

    fn make(&mut self, service: &Service, settings: &Tls, http2: bool) -> Result<ClientTls, Refusal> {
        let unusable = |error: &dyn std::fmt::Display| {
            Refusal::new(
                "upstream_tls_unusable",
                format!("service {}: TLS towards its instances: {error}", service.name),
            )
            .field("service", &service.name)
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?;
        let mut config = match &settings.verify {
            Verify::System => builder.with_root_certificates(self.system()),
            Verify::Authorities(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority.clone().into()).map_err(|error| unusable(&error))?;
                }
                builder.with_root_certificates(roots)
            }
            Verify::Insecure => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(Arc::clone(&self.provider)))),
        }
        .with_no_client_auth();
        // Said for HTTP/1.1 too: a server that can do both must not choose by itself.
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(ClientTls { settings: settings.clone(), http2, config: Arc::new(config) })
    }

    /// The host's trust store. Without a certificate in it every handshake fails, which is the safe side.
    fn system(&mut self) -> Arc<RootCertStore> {
        if let Some(roots) = &self.system {
            return Arc::clone(roots);
        }
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            tracing::warn!(%error, "the host's trust store");
        }
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(loaded.certs);
        if added == 0 {
            tracing::error!(
                "the host's trust store is empty: instances over TLS are refused; install ca-certificates and restart, \
                 or name their authorities"
            );
        }
        tracing::debug!(added, ignored, "the host's trust store");
        let roots = Arc::new(roots);
        self.system = Some(Arc::clone(&roots));
        roots
    }
}

fn find(made: &[Arc<ClientTls>], settings: &Tls, http2: bool) -> Option<Arc<ClientTls>> {
    made.iter().find(|client| client.http2 == http2 && client.settings == *settings).cloned()
}

/// The name that an instance at `host` is asked for and must prove; `None`: neither a DNS name nor an address.
pub(super) fn server_name(settings: &Tls, host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(settings.server_name.as_deref().unwrap_or(host).to_owned()).ok()
}

/// Takes every certificate (`Verify::Insecure`); the handshake's signatures are still checked, so that whoever shows a
/// certificate also has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
