//! Arguments that several verbs take, and how they stand in a request's body.

use clap::Args;
use serde_json::Value;

use super::{Manner, change::Object};

/// A resource by its name.
#[derive(Debug, Args)]
pub struct Item {
    /// Its name
    pub(super) name: String,
}

/// A resource by its name, for changes that need no more.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name
    pub(super) name: String,
    #[command(flatten)]
    pub(super) manner: Manner,
}

/// The ports of a listener, a private network or an endpoint.
#[derive(Debug, Args)]
pub(super) struct Ports {
    /// Port for HTTP [default: 80]
    #[arg(long, value_name = "PORT", conflicts_with = "no_http")]
    http: Option<u16>,
    /// No HTTP port
    #[arg(long)]
    no_http: bool,
    /// Port for HTTPS [default: 443]
    #[arg(long, value_name = "PORT", conflicts_with = "no_https")]
    https: Option<u16>,
    /// No HTTPS port
    #[arg(long)]
    no_https: bool,
}

/// What stands between clients and a listener.
#[derive(Debug, Args)]
pub(super) struct Proxies {
    /// Expect a PROXY protocol header at the beginning of every connection; without it a connection is refused
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    proxy_protocol: Option<bool>,
    /// Proxies whose Forwarded and X-Forwarded headers are believed; repeat it or separate by commas; `off` for none
    #[arg(long, value_name = "CIDRS")]
    trusted_forwarders: Vec<String>,
}

impl Ports {
    pub(super) fn write(&self, body: &mut Object) {
        for (key, port, none) in [("http", self.http, self.no_http), ("https", self.https, self.no_https)] {
            if none {
                // The declarative form of "no such port".
                body.set(key, false);
            } else {
                body.maybe(key, port);
            }
        }
    }
}

impl Proxies {
    pub(super) fn write(&self, body: &mut Object) {
        body.maybe("proxy_protocol", self.proxy_protocol);
        let list = (!self.trusted_forwarders.is_empty()).then(|| self.trusted_forwarders.join(","));
        body.or_off("trusted_forwarders", list.as_deref());
    }
}

/// A number, or `off`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub(super) Option<u32>);

impl std::str::FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        // `/s` says what a rate is counted by.
        let number = text.strip_suffix("/s").unwrap_or(text).parse().ok().filter(|number| *number > 0);
        number.map(|number| Self(Some(number))).ok_or("give a number like 100, or `off`")
    }
}

impl From<Count> for Value {
    fn from(Count(number): Count) -> Self {
        number.into()
    }
}
