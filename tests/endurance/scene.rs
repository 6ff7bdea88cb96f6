//! The daemon of a test, with a name and a certificate of its own, and the runtime in which clients and instances run.

use std::{net::SocketAddr, sync::Arc};

use harness::{Authority, Desk};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::control::Control;

/// The name under which everything is asked for.
pub(crate) const HOST: &str = "live.example.test";
pub(crate) const TOKEN: &str = "sesame";
const HTTP: &str = "127.0.0.2:9080";
const HTTPS: &str = "127.0.0.2:9443";

/// A daemon with the listener `front`, the domain [`HOST`] and its certificate.
pub(crate) struct Scene {
    pub(crate) desk: Desk,
    authority: Authority,
}

/// What a client needs to know to come in.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    /// `None`: plain.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

// === impl Scene ===

impl Scene {
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self::with_settings("")
    }

    /// The same with further process settings.
    #[track_caller]
    pub(crate) fn with_settings(toml: &str) -> Self {
        let desk = Desk::with_settings(toml).open();
        let authority = Authority::new();
        let files = authority.leaf(&[HOST]).write(desk.gateway.scratch(), "live");
        desk.ok(&["cert", "add", "live", "--chain", files.chain(), "--key", files.key()]);
        desk.ok(&["domain", "add", HOST, "--exposure", "public", "--cert", "live"]);
        Self { desk, authority }
    }

    /// Adds a service with [`TOKEN`], reached at `/api/predict/NAME/…`.
    #[track_caller]
    pub(crate) fn serve(&self, name: &str, instances: &[SocketAddr], further: &[&str]) {
        let token = self.desk.file("token", TOKEN);
        let instances: Vec<String> = instances.iter().map(ToString::to_string).collect();
        let instances = instances.join(",");
        let mut words = vec!["service", "add", name, "--instance", &instances, "--token-file", &token];
        words.extend_from_slice(further);
        self.desk.ok(&words);
    }

    /// Runs clients and instances on one thread, where the daemon's loopback is.
    pub(crate) fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.desk.within(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work())
        })
    }

    pub(crate) fn control(&self) -> Control {
        Control::new(&self.desk.gateway.socket())
    }

    pub(crate) fn plain(&self) -> Door {
        Door { address: HTTP.parse().unwrap(), tls: None }
    }

    /// Both doors, plain and with TLS, of the listener on 127.0.0.`host`.
    pub(crate) fn doors(&self, host: u8) -> [Door; 2] {
        [self.plain(), self.tls()].map(|mut door| {
            door.address.set_ip([127, 0, 0, host].into());
            door
        })
    }

    /// The door with TLS; the client trusts the test's authority alone.
    pub(crate) fn tls(&self) -> Door {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Door { address: HTTPS.parse().unwrap(), tls: Some(Arc::new(config)) }
    }

    /// What instances prove the name [`HOST`] with over TLS.
    pub(crate) fn instance_tls(&self) -> Arc<ServerConfig> {
        let leaf = self.authority.leaf(&[HOST]);
        let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    /// The words with which a service asks its instances for that proof.
    pub(crate) fn proof(&self) -> Vec<String> {
        let file = self.desk.file("authority.pem", &self.authority.pem);
        ["--tls-ca", &file, "--tls-server-name", HOST].map(str::to_owned).to_vec()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
