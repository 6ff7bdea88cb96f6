//! Flags of a service that say how its instances are chosen, watched, spared and reached.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::{
    arguments::Count,
    change::{Object, read_text},
};
use crate::api::client::Failure;

#[derive(Debug, Args)]
pub(super) struct Upstream {
    /// TLS towards the instances: off, verify or insecure [default: off]
    #[arg(long, value_name = "MODE")]
    tls: Option<String>,
    /// Name for SNI and verification, or `off` [default: the instance's host]
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// File with the authorities of the instances' certificates in PEM, or `off` [default: what the host trusts]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// How an instance is chosen: least_request, round_robin or hash [default: least_request]
    #[arg(long, value_name = "HOW")]
    balance: Option<String>,
    /// What is hashed: source, path or header:NAME, or `off` [default: source]
    #[arg(long, value_name = "KEY")]
    hash_on: Option<String>,
    /// Check every instance by a connection (`tcp`) or a GET of this path; `off` for no checks
    #[arg(long, value_name = "tcp|PATH|off")]
    health: Option<String>,
    /// Time between two checks of an instance [default: 5s]
    #[arg(long, value_name = "DURATION")]
    health_interval: Option<String>,
    /// Time that a check may take [default: 2s]
    #[arg(long, value_name = "DURATION")]
    health_timeout: Option<String>,
    /// Good checks in a row that bring an instance back [default: 2]
    #[arg(long, value_name = "N")]
    healthy: Option<u32>,
    /// Bad checks in a row that take an instance out [default: 3]
    #[arg(long, value_name = "N")]
    unhealthy: Option<u32>,
    /// Failed requests in a row that take an instance out; 0 for never [default: 5]
    #[arg(long, value_name = "N")]
    outlier_failures: Option<u32>,
    /// How long an instance is out at first; doubled each time, up to ten times as long [default: 10s]
    #[arg(long, value_name = "DURATION")]
    outlier_ejection: Option<String>,
    /// Largest share of the instances that is out at once; one may always be [default: 50]
    #[arg(long, value_name = "PERCENT")]
    max_ejected_percent: Option<u8>,
    /// Attempts at a request, the first included; 1 for no retries [default: 3]
    #[arg(long, value_name = "N")]
    retry_attempts: Option<u32>,
    /// Retries by share of the requests [default: 20]
    #[arg(long, value_name = "PERCENT")]
    retry_budget: Option<u8>,
    /// Requests in flight to one instance, or `off` [default: no bound]
    #[arg(long, value_name = "N")]
    max_in_flight: Option<Count>,
    /// Requests that wait while every instance is at its bound [default: 64]
    #[arg(long, value_name = "N")]
    queue: Option<u32>,
    /// How long a request waits for a place [default: 5s]
    #[arg(long, value_name = "DURATION")]
    queue_wait: Option<String>,
    /// Time over which a new or recovered instance's share grows [default: 0s]
    #[arg(long, value_name = "DURATION")]
    slow_start: Option<String>,
    /// Compress answers: gzip, br, zstd, the preferred first; `off` for none
    #[arg(long, value_name = "CODINGS", value_delimiter = ',')]
    compression: Vec<String>,
    /// Decompress request bodies for the instances
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    decompress: Option<bool>,
}

impl Upstream {
    pub(super) fn write(&self, body: &mut Object) -> Result<(), Failure> {
        body.maybe("tls", self.tls.as_deref())
            .or_off("tls_server_name", self.tls_server_name.as_deref())
            .maybe("balance", self.balance.as_deref())
            .or_off("hash_on", self.hash_on.as_deref())
            .maybe("slow_start", self.slow_start.as_deref())
            .maybe("decompress", self.decompress);
        match self.tls_ca.as_deref() {
            Some(file) if file == Path::new("off") => drop(body.set("tls_ca", Value::Null)),
            Some(file) => drop(body.set("tls_ca", read_text(file, "tls_ca")?)),
            None => {}
        }
        match self.compression.as_slice() {
            [] => {}
            [off] if off == "off" => drop(body.set("compression", Value::Null)),
            codings => drop(body.set("compression", codings.to_vec())),
        }
        if self.health.as_deref() == Some("off") {
            body.set("health", Value::Null);
        } else {
            let mut health = Object::default();
            health
                .maybe("probe", self.health.as_deref())
                .maybe("interval", self.health_interval.as_deref())
                .maybe("timeout", self.health_timeout.as_deref())
                .maybe("healthy", self.healthy)
                .maybe("unhealthy", self.unhealthy);
            body.table("health", health);
        }
        let mut outlier = Object::default();
        outlier
            .maybe("failures", self.outlier_failures)
            .maybe("ejection", self.outlier_ejection.as_deref())
            .maybe("max_ejected_percent", self.max_ejected_percent);
        let mut retry = Object::default();
        retry.maybe("attempts", self.retry_attempts).maybe("budget_percent", self.retry_budget);
        let mut bounds = Object::default();
        bounds
            .maybe("in_flight", self.max_in_flight)
            .maybe("queue", self.queue)
            .maybe("queue_wait", self.queue_wait.as_deref());
        body.table("outlier", outlier).table("retry", retry).table("bounds", bounds);
        Ok(())
    }
}
