//! Pure: what the proxy is started with. Process settings only; what operators edit live is in the snapshot.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    defence::{Reports, reports},
    observe::access::Target,
    snapshot::Barred,
};

/// Start-up settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads; `None`: one per core.
    pub workers: Option<NonZeroUsize>,
    pub access_log: Target,
    /// PEM file with key and chain of the self-signed default certificate, made if missing; `None`: in memory only.
    pub default_certificate: Option<PathBuf>,
    pub unknown_sni: UnknownSni,
    pub closed: Closed,
    pub limits: Limits,
    /// Bytes that connections and requests may hold; `None`: half of what this process may use.
    pub memory: Option<u64>,
    /// Addresses that belong to the gateway besides its listeners (admin): never an instance.
    pub own_addresses: Vec<SocketAddr>,
    /// Interfaces on which nothing may be bound now; the filter says so.
    pub barred: Barred,
    /// Where offences are reported and bans are read.
    pub reports: Arc<Reports>,
    /// Worker threads give up every capability.
    pub drop_capabilities: bool,
}

/// What a TLS client gets that asks for a name without a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownSni {
    /// The default certificate.
    #[default]
    Default,
    /// The `unrecognized_name` alert (RFC 6066 §3).
    Reject,
}

/// What a client of a closed listener gets where no program in the kernel drops its packets before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closed {
    /// Nothing: its SYNs are not answered.
    #[default]
    Silence,
    /// A reset after the handshake, so many per second and worker; beyond that, nothing.
    Reset,
}

/// Deadlines towards clients, and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accept to the end of the TLS handshake, or to the first byte on a plain port.
    pub handshake: Duration,
    /// From the first byte of a request head to its end.
    pub header: Duration,
    /// Between two requests of a connection.
    pub keep_alive: Duration,
    /// A client that takes no byte of its response for this long is cut.
    pub write_stall: Duration,
    /// The least that such a client must take on average, in bytes per second; 0: anything.
    pub answer_rate: u32,
    /// A client that sends no byte of its body for this long gets 408.
    pub body_idle: Duration,
    /// The least that it must send on average until it is answered, in bytes per second; 0: anything.
    pub body_rate: u32,
    /// An unused upstream connection is kept this long: less than the 5 s after which common model servers close.
    pub upstream_idle: Duration,
    /// Unused upstream connections per instance and worker.
    pub upstream_spare: usize,
    /// Client connections, over all workers.
    pub connections: usize,
    /// TLS clients of a worker that wait for their turn; beyond that, no more are taken.
    pub handshakes: usize,
    /// What an edit takes away without revoking access, as a deleted listener or service, may finish within this time.
    pub drain: Duration,
    /// Bytes of an HTTP/1.1 request head.
    pub head_bytes: usize,
    /// Header fields of a request.
    pub head_fields: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: None,
            access_log: Target::default(),
            default_certificate: None,
            unknown_sni: UnknownSni::default(),
            closed: Closed::default(),
            limits: Limits::default(),
            memory: None,
            own_addresses: Vec::new(),
            barred: Barred::default(),
            // Nobody listens at the other end.
            reports: reports().0,
            drop_capabilities: true,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(15),
            keep_alive: Duration::from_secs(75),
            write_stall: Duration::from_secs(60),
            // A telephone line of the sixties is faster; Kestrel and IIS ask for as much, both ways.
            answer_rate: 240,
            body_idle: Duration::from_secs(30),
            body_rate: 240,
            upstream_idle: Duration::from_secs(4),
            upstream_spare: 256,
            connections: 200_000,
            // A second's work at half a millisecond each: whoever waits longer than that has often left.
            handshakes: 2048,
            // As long as a stop waits: most answers are through, and an edit has an end that can be waited for.
            drain: Duration::from_secs(20),
            head_bytes: 64 * 1024,
            head_fields: 100,
        }
    }
}
