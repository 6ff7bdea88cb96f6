//! Pure: certificates, domains, services and routes as the proxy reads them.

use std::{fmt, sync::Arc, time::Duration};

use super::{Exposure, Visibility, upstream::Upstream};
use crate::base::Name;

/// A certificate chain with its private key, validated by `resource::certificate`.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    pub name: Name,
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// DER (PKCS#8, SEC1 or PKCS#1).
    pub key: Arc<[u8]>,
    /// DNS names of the leaf, lower case, wildcards as `*.example.org`.
    pub names: Vec<String>,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key never reaches a log.
        formatter
            .debug_struct("Certificate")
            .field("name", &self.name)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// A custom host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    pub gateway: Name,
    /// Lower case, without a trailing dot; `*.example.org` matches one more label.
    pub host: String,
    pub visibility: Visibility,
    /// Without one the domain is served over HTTP, and over HTTPS with the default certificate.
    pub certificate: Option<Name>,
    /// Plain HTTP is redirected to HTTPS (308).
    pub https_only: bool,
}

/// A host name that the gateway itself is called by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHost {
    pub gateway: Name,
    /// Lower case, without a trailing dot.
    pub host: String,
    /// Where it answers.
    pub exposure: Exposure,
}

/// A match and the services it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub gateway: Name,
    pub name: Name,
    /// `None`: every host the listener answers to.
    pub host: Option<String>,
    /// Matches whole path segments; `/` matches everything.
    pub path_prefix: String,
    /// Upper-case methods; empty: every method.
    pub methods: Vec<String>,
    /// Headers that must be present with exactly this value; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Remove `path_prefix` before the request goes upstream.
    pub strip_prefix: bool,
    /// Weight 0 gets nothing; the sum is positive.
    pub backends: Vec<Backend>,
    /// A copy of some requests for another service, whose answers nobody sees.
    pub mirror: Option<Mirror>,
    /// Requests with methods that are not idempotent may be sent again, too.
    pub retry_unsafe: bool,
}

/// One weighted target of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub service: Name,
    pub weight: u32,
}

/// Where copies go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub service: Name,
    /// Share of the requests, 0 to 100.
    pub percent: u8,
}

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub gateway: Name,
    pub name: Name,
    pub visibility: Visibility,
    pub protocol: Protocol,
    pub instances: Vec<Instance>,
    pub access: Access,
    /// Pass the client's `Authorization` on instead of stripping it.
    pub forward_token: bool,
    /// Bytes of a request body that may pass.
    pub body_limit: u64,
    /// Admitted requests per second, over all workers.
    pub qps: Option<u32>,
    pub timeouts: Timeouts,
    pub upstream: Upstream,
    /// What answers may be compressed with, the preferred first; empty: they pass as they are.
    pub compression: Vec<Encoding>,
    /// Compressed request bodies reach the instances decompressed; the body limit then counts both sizes.
    pub decompress: bool,
}

/// A content coding (RFC 9110 §8.4.1, RFC 7932, RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Gzip,
    Brotli,
    Zstd,
}

/// Who may call a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// SHA-256 digests of the tokens that are valid.
    Tokens(Vec<[u8; 32]>),
    /// Everybody (`--no-auth`).
    Open,
}

/// What a service's instances speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2: with prior knowledge on plain TCP, by ALPN with TLS.
    Http2,
    /// gRPC, over HTTP/2.
    Grpc,
}

impl Protocol {
    /// Whether the instances are spoken to in HTTP/2.
    #[must_use]
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }
}

/// One address of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance {
    /// Host name or IP literal (IPv6 without brackets).
    pub host: String,
    pub port: u16,
    /// Share of the requests beside the others'; at least 1.
    pub weight: u32,
}

/// Deadlines towards a service's instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect.
    pub connect: Duration,
    /// From the end of the request to the first byte of the response.
    pub first_byte: Duration,
    /// Between two reads of a response body.
    pub idle: Duration,
}

impl Default for Timeouts {
    /// 2 s to connect (one lost SYN is retransmitted after 1 s), 60 s to the first byte (a model may think), 60 s idle.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        }
    }
}
