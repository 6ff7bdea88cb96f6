//! Steady HTTPS load from an allowed client, which counts every failure.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::netns::{self, NetNs};

/// What to ask for, and how.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub host: String,
    pub path: String,
    pub token: String,
    /// PEM of the authority that signed the gateway's certificate.
    pub authority: String,
}

/// Load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    requests: AtomicU64,
    failures: AtomicU64,
    messages: Mutex<Vec<String>>,
}

/// What the load saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub requests: u64,
    pub failures: u64,
    /// The first few failures in words.
    pub messages: Vec<String>,
}

/// Requests on one connection before a new handshake: both pooled and fresh connections must survive edits.
const PER_CONNECTION: u32 = 50;

// === impl Load ===

impl Load {
    /// Starts `connections` workers inside `namespace`.
    #[must_use]
    #[track_caller]
    pub fn start(namespace: &NetNs, target: &Target, connections: usize) -> Self {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(target.authority.as_bytes()).expect("authority");
        roots.add(authority).expect("authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        let shared = Arc::new(Shared::default());
        let path: PathBuf = namespace.path();
        let workers = (0..connections)
            .map(|_| {
                let (config, shared, target, path) =
                    (Arc::clone(&config), Arc::clone(&shared), target.clone(), path.clone());
                thread::spawn(move || netns::within_path(&path, || work(&config, &target, &shared)))
            })
            .collect();
        Self { shared, workers }
    }

    /// Requests answered so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Ends the load and tells.
    #[track_caller]
    pub fn stop(mut self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.join().expect("a load worker");
        }
        Report {
            requests: self.requests(),
            failures: self.shared.failures.load(Ordering::Relaxed),
            messages: self.shared.messages.lock().expect("no panic holds it").clone(),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn work(config: &Arc<ClientConfig>, target: &Target, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        if let Err(error) = converse(config, target, shared) {
            shared.failures.fetch_add(1, Ordering::Relaxed);
            if let Ok(mut messages) = shared.messages.lock()
                && messages.len() < 5
            {
                messages.push(error.to_string());
            }
            // A gateway that refuses everything must not make a million failures.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn converse(config: &Arc<ClientConfig>, target: &Target, shared: &Shared) -> anyhow::Result<()> {
    let stream = TcpStream::connect_timeout(&target.address, Duration::from_secs(3))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let name = ServerName::try_from(target.host.clone())?;
    let connection = ClientConnection::new(Arc::clone(config), name)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n\r\n",
        target.path, target.host, target.token
    );
    for _ in 0..PER_CONNECTION {
        if shared.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        stream.get_mut().write_all(request.as_bytes())?;
        stream.get_mut().flush()?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        anyhow::ensure!(line.contains(" 200 "), "status line {line:?}");
        let mut length = 0;
        loop {
            let mut line = String::new();
            anyhow::ensure!(stream.read_line(&mut line)? > 0, "the answer ends in its head");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let read = std::io::copy(&mut (&mut stream).take(length), &mut std::io::sink())?;
        anyhow::ensure!(read == length, "{read} of {length} bytes");
        shared.requests.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
