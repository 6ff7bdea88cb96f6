//! A gateway host in a small internet, with the public listener `public` and, on request, the service `echo`.

#![expect(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value fails the test where it is read"
)]

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use harness::{
    Authority, Gateway, Net, Upstream,
    client::{Curl, curl},
    topology::{PUBLIC_V4, PUBLIC_V6, UPSTREAM_V4},
};
use serde_json::Value;

/// The listener's HTTPS endpoints.
pub(crate) const HTTPS_V4: SocketAddr = SocketAddr::new(IpAddr::V4(PUBLIC_V4), 443);
pub(crate) const HTTPS_V6: SocketAddr = SocketAddr::new(IpAddr::V6(PUBLIC_V6), 443);
/// The custom domain of [`Site::serve`].
pub(crate) const HOST: &str = "models.example.org";

/// Everything of one test. The daemon goes before the namespaces it lives in.
pub(crate) struct Site {
    pub(crate) gateway: Gateway,
    pub(crate) net: Net,
}

/// A service behind the gateway, and what a client needs to call it.
pub(crate) struct Served {
    pub(crate) upstream: Upstream,
    pub(crate) authority: Authority,
    pub(crate) trust: PathBuf,
    pub(crate) token: String,
    pub(crate) endpoints: Vec<String>,
}

impl Site {
    /// A host with a daemon and nothing configured.
    #[track_caller]
    pub(crate) fn bare() -> Self {
        let net = Net::new();
        let gateway = Gateway::start(&net.gateway);
        Self { gateway, net }
    }

    /// As [`Self::bare`], with the open listener `public` on both families, which admits nobody yet.
    #[track_caller]
    pub(crate) fn open() -> Self {
        let site = Self::bare();
        site.add_public(&["--open"]);
        site
    }

    #[track_caller]
    pub(crate) fn add_public(&self, more: &[&str]) {
        let mut words = vec!["listener", "add", "public", "--exposure", "public", "--interface", "pub0"];
        words.extend(["--address", "198.51.100.1", "--address", "2001:db8:100::1"]);
        words.extend(more);
        self.gateway.cli(&words).ok();
    }

    #[track_caller]
    pub(crate) fn allow(&self, cidrs: &str) {
        self.gateway.cli(&["allow", "add", "public", cidrs]).ok();
    }

    #[track_caller]
    pub(crate) fn disallow(&self, cidrs: &str) {
        self.gateway.cli(&["allow", "remove", "public", cidrs]).ok();
    }

    /// The CIDRs of listener `name`.
    #[track_caller]
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let reply = self.gateway.cli(&["allow", "list", name]).ok();
        assert_eq!(reply["listener"], name);
        texts(&reply["items"], "cidr")
    }

    /// Packets that listener `name` dropped for `reason`, as the CLI counts them.
    #[track_caller]
    pub(crate) fn drops(&self, name: &str, reason: &str) -> u64 {
        let reply = self.gateway.cli(&["drops"]).ok();
        let items = reply["items"].as_array().expect("drops has items");
        items
            .iter()
            .filter(|item| item["listener"] == name && item["reason"] == reason)
            .filter_map(|item| item["packets"].as_u64())
            .sum()
    }

    /// Adds the service `echo` with an instance, and [`HOST`] with a certificate.
    #[track_caller]
    pub(crate) fn serve(&self) -> Served {
        let upstream = Upstream::start(&self.net.upstream, UPSTREAM_V4.into(), 0, "one");
        let authority = Authority::new();
        let files = authority.leaf(&[HOST]).write(self.gateway.scratch(), "models");
        let cli = |words: &[&str]| self.gateway.cli(words).ok();
        let added = cli(&["service", "add", "echo", "--instance", &upstream.instance()]);
        let token = added["token"].as_str().expect("a token is printed once").to_owned();
        let endpoints = added["endpoints"].as_array().expect("endpoints").iter();
        let endpoints = endpoints.filter_map(|url| url.as_str().map(str::to_owned)).collect();
        cli(&["cert", "add", "models", "--chain", files.chain(), "--key", files.key()]);
        cli(&["domain", "add", HOST, "--exposure", "public", "--cert", "models"]);
        let trust = authority.write(self.gateway.scratch());
        Served { upstream, authority, trust, token, endpoints }
    }
}

impl Served {
    /// A verified HTTPS request from the allowed client through the built-in path of the service.
    pub(crate) fn call(&self, site: &Site, path: &str) -> Curl {
        curl(&site.net.client, &format!("https://{HOST}/api/predict/echo{path}"))
            .at(HOST, HTTPS_V4)
            .trust(&self.trust)
            .token(&self.token)
    }
}

/// The texts under `key` of every item.
#[track_caller]
pub(crate) fn texts(items: &Value, key: &str) -> Vec<String> {
    let items = items.as_array().unwrap_or_else(|| panic!("not a list: {items}"));
    items.iter().map(|item| item[key].as_str().expect("a text").to_owned()).collect()
}
