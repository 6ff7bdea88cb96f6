//! Pure: what the data path reads. Immutable, cheap to share, one generation.
//!
//! A snapshot is the output of `control::compile` and the only thing that the filter and the proxy workers know of the
//! configuration. Objects sit behind their own `Arc`: a connection or a request pins the objects that it uses, never
//! the whole, so an edit elsewhere cannot disturb it. `publish` reuses the `Arc` of an object that did not change.

mod barred;
pub mod dns;
pub mod filter;
pub mod http;
pub mod names;
pub mod network;
pub mod subscriber;
pub mod upstream;

use std::{num::NonZeroU32, sync::Arc};

use ipnet::IpNet;

use crate::base::{Generation, Name};

pub use barred::Barred;
pub use filter::FilterPlan;
pub use network::{Channel, Endpoint, EndpointSubnet, OwnedAddress, Vpc};
pub use subscriber::Subscriber;

/// One whole compiled configuration.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub generation: Generation,
    /// What the kernel filter and the check at accept enforce.
    pub filter: Arc<FilterPlan>,
    /// Sockets to hold.
    pub listeners: Vec<Arc<Listener>>,
    /// Attached private networks by name.
    pub vpcs: Vec<Arc<Vpc>>,
    /// Endpoints of platform services by name.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Addresses to hold on interfaces, sorted.
    pub addresses: Vec<OwnedAddress>,
    /// What the name servers answer.
    pub dns: Arc<dns::DnsPlan>,
    /// Certificates by name.
    pub certificates: Vec<Arc<http::Certificate>>,
    /// Host names of the gateway itself; `/api/predict/<service>` answers there.
    pub own_hosts: Vec<Arc<http::OwnHost>>,
    /// Custom host names.
    pub domains: Vec<Arc<http::Domain>>,
    /// Routes in no particular order; precedence is decided by the matcher.
    pub routes: Vec<Arc<http::Route>>,
    /// Services by name.
    pub services: Vec<Arc<http::Service>>,
}

impl Snapshot {
    /// How the traffic of a listener is metered.
    #[must_use]
    pub fn channel(&self, listener: &Name) -> Channel {
        let endpoint = listener.endpoint().map(|name| {
            self.endpoints.iter().find(|endpoint| &*endpoint.name == name).map(|endpoint| &*endpoint.vpc)
        });
        match (listener.vpc().map(Some), endpoint) {
            (None, None) => Channel::Public,
            (vpc, endpoint) => {
                let name = vpc.or(endpoint).flatten();
                let vpc = self.vpcs.iter().find(|vpc| Some(&*vpc.name) == name);
                vpc.map_or(Channel::Private, |vpc| vpc.channel())
            }
        }
    }
}

/// Where requests may come from: the exposure of a listener, a domain or a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Exposure {
    /// The Internet.
    Public,
    /// A private network, by name.
    Vpc(Name),
    /// An endpoint of a platform service, by name: only that service answers there, under the endpoint's name.
    Endpoint(Name),
}

/// Which exposures an object is visible on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Visibility {
    All,
    Public,
    /// Every attached private network.
    AnyVpc,
    /// One private network.
    Vpc(Name),
    /// Only endpoints whose service names it.
    Endpoints,
}

impl Visibility {
    /// Whether an object with this visibility answers on a listener of `exposure`.
    #[must_use]
    pub fn admits(&self, exposure: &Exposure) -> bool {
        match (self, exposure) {
            // An endpoint names its one service itself.
            (_, Exposure::Endpoint(_)) => false,
            (Self::All, _) | (Self::Public, Exposure::Public) | (Self::AnyVpc, Exposure::Vpc(_)) => true,
            (Self::Vpc(mine), Exposure::Vpc(theirs)) => mine == theirs,
            (Self::Public, Exposure::Vpc(_))
            | (Self::AnyVpc | Self::Vpc(_), Exposure::Public)
            | (Self::Endpoints, _) => false,
        }
    }
}

/// The sockets of one listener: what to bind and how requests on them are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub gateway: Name,
    pub name: Name,
    /// Stable counter id, the same as in the filter plan.
    pub id: u16,
    pub exposure: Exposure,
    pub interface: String,
    pub addresses: Vec<filter::ListenAddress>,
    /// Plain HTTP port.
    pub http: Option<u16>,
    /// HTTPS port.
    pub https: Option<u16>,
    /// A closed listener holds its sockets and refuses every connection.
    pub open: bool,
    /// Bind later if the interface does not have the address yet.
    pub wait_address: bool,
    pub caps: Caps,
    /// Every connection begins with a PROXY protocol header, version 1 or 2.
    pub proxy_protocol: bool,
    /// Peers whose `Forwarded` and `X-Forwarded-*` are believed and continued; from others they are replaced.
    pub forwarders: Arc<[IpNet]>,
}

/// How many connections a listener may hold open; `None`: as many as the gateway may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    pub connections: Option<NonZeroU32>,
    pub per_source: Option<NonZeroU32>,
}
