//! Private networks: not tests, but the gateway host that they begin with, beside the tests' own modules.
//!
//! - `accounts`: networks of other accounts (XA).
//! - `endpoint`: the private endpoint's life (PV-1 … PV-3, PV-5 … PV-8).
//! - `kinds`: interfaces without native XDP.
//! - `metering`: traffic by channel (XR-3).
//! - `large`: an allowlist of a hundred thousand entries.
//! - `remote`: networks of another region (XR).
//! - `isolation`: nothing reaches an endpoint but what comes in by its own network. The packets are rows.

mod accounts;
mod endpoint;
mod isolation;
mod kinds;
mod large;
mod metering;
mod remote;

use std::net::{IpAddr, SocketAddr};

use harness::{
    Gateway, Net, NetNs, Segment, Upstream,
    client::{Curl, curl},
    topology::UPSTREAM_V4,
};
use serde_json::Value;

use super::site::Site;

/// Zones and region of the tests' site.
pub(crate) const SETTINGS: &str = "region = \"eu-1\"\nzones = [\"i\", \"l\", \"k\"]\n";

/// A gateway host with two private networks on cables of their own, of which none is attached yet.
pub(crate) struct Private {
    pub(crate) site: Site,
    /// 10.1.0.0/24 at `red0`.
    pub(crate) red: Segment,
    /// 10.2.0.0/24 at `blue0`.
    pub(crate) blue: Segment,
}

/// A service behind the gateway.
pub(crate) struct Service {
    /// Goes with the service: its socket closes when it is dropped.
    pub(crate) upstream: Upstream,
    pub(crate) token: String,
    pub(crate) added: Value,
}

// === impl Private ===

impl Private {
    #[track_caller]
    pub(crate) fn bare() -> Self {
        Self::with(SETTINGS)
    }

    /// As [`Self::bare`], with further settings of the process.
    #[track_caller]
    pub(crate) fn with(settings: &str) -> Self {
        let net = Net::new();
        let red = Segment::lay(&net, "red0", [10, 1, 0]);
        let blue = Segment::lay(&net, "blue0", [10, 2, 0]);
        let mut gateway = Gateway::prepare(Some(&net.gateway));
        gateway.set_config(settings);
        gateway.run();
        Self { site: Site { gateway, net }, red, blue }
    }

    /// As [`Self::bare`], with both networks attached as `red` and `blue`, and the public listener, which admits nobody.
    #[track_caller]
    pub(crate) fn attached() -> Self {
        let private = Self::bare();
        private.site.add_public(&["--open"]);
        private.attach("red", &private.red);
        private.attach("blue", &private.blue);
        private
    }

    /// `vpc add` with what is required; the segment's endpoint in zone i.
    #[track_caller]
    pub(crate) fn attach(&self, name: &str, segment: &Segment) -> Value {
        self.site.gateway.cli(&add(name, segment.interface, &segment.address(), "i")).ok()
    }

    /// Adds the service `name` with one instance; `more` are further options of `service add`.
    #[track_caller]
    pub(crate) fn serve(&self, name: &str, more: &[&str]) -> Service {
        let upstream = Upstream::start(&self.site.net.upstream, UPSTREAM_V4.into(), 0, name);
        let instance = upstream.instance();
        let mut words = vec!["service", "add", name, "--instance", &instance];
        words.extend(more);
        let added = self.site.gateway.cli(&words).ok();
        let token = added["token"].as_str().expect("a token is printed once").to_owned();
        Service { upstream, token, added }
    }

    /// Whether the gateway's `interface` has this address.
    #[track_caller]
    pub(crate) fn has_address(&self, interface: &str, address: IpAddr) -> bool {
        let text = self.site.net.gateway.ip(&["-j", "addr", "show", "dev", interface]);
        let links: Value = serde_json::from_str(&text).expect("ip speaks JSON");
        let infos = links[0]["addr_info"].as_array().cloned().unwrap_or_default();
        infos.iter().any(|info| info["local"] == address.to_string())
    }

    /// Lets other networks send what is for the endpoint into the gateway: a stranger with a route.
    pub(crate) fn route_to(&self, from: &NetNs, via: IpAddr, segment: &Segment) {
        let [a, b, c, _] = segment.vip().octets();
        from.ip(&["route", "replace", &format!("{a}.{b}.{c}.0/24"), "via", &via.to_string()]);
    }
}

/// The words that attach a network.
pub(crate) fn add<'a>(name: &'a str, interface: &'a str, address: &'a str, zone: &'a str) -> Vec<&'a str> {
    vec!["vpc", "add", name, "--interface", interface, "--address", address, "--zone", zone]
}

/// A request over plain HTTP by the built-in path of `service`.
pub(crate) fn call(
    from: &NetNs,
    endpoint: impl Into<SocketAddr>,
    service: &str,
    path: &str,
    token: &str,
) -> Curl {
    let endpoint = endpoint.into();
    curl(from, &format!("http://{endpoint}/api/predict/{service}{path}")).token(token)
}

/// Both ports of a segment's endpoint.
pub(crate) fn ports(segment: &Segment) -> [SocketAddr; 2] {
    [(segment.vip(), 80).into(), (segment.vip(), 443).into()]
}

/// Connections of the gateway's namespace whose own end is `address`, in whatever state, by the kernel's own word.
#[track_caller]
pub(crate) fn sockets_at(gateway: &NetNs, address: SocketAddr) -> Vec<String> {
    let filter = format!("src {} and sport = :{}", address.ip(), address.port());
    let text = gateway.check("ss", &["-Htan", "state", "connected", &filter]);
    text.lines().map(str::to_owned).collect()
}
