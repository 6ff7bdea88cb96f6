//! Pure: one snapshot as the workers read it: per listener its hosts, routes and certificates, per service its runtime
//! state. Whatever did not change is taken over from the previous view, with its counters and its throttle.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    listener::SocketId,
    route::{self, Entry, HostMatch},
    throttle::Gcra,
    tls::TlsView,
};
use crate::{
    base::{Generation, Name},
    observe::traffic::{ListenerCounters, ServiceCounters, Traffic},
    snapshot::{Listener, Snapshot, filter::FilterTables, http::Service},
};

/// Plain or TLS, a property of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// One generation, ready to serve.
pub(crate) struct View {
    pub(crate) generation: Generation,
    pub(crate) snapshot: Arc<Snapshot>,
    /// The access policy, for the check at accept.
    pub(crate) tables: Arc<FilterTables>,
    pub(crate) listeners: Vec<ListenerView>,
    /// What a socket belongs to now: listener index and scheme.
    pub(crate) sockets: HashMap<SocketId, (usize, Scheme)>,
    pub(crate) services: Vec<Arc<ServiceView>>,
    /// Addresses of the gateway itself.
    pub(crate) own: Vec<SocketAddr>,
}

/// A listener with everything a request on it is judged by.
pub(crate) struct ListenerView {
    pub(crate) listener: Arc<Listener>,
    pub(crate) counters: Arc<ListenerCounters>,
    pub(crate) tls: Option<Arc<TlsView>>,
    hosts: HashMap<Box<str>, Vhost>,
    /// Keyed by the part after `*`, which begins with a dot.
    wildcards: HashMap<Box<str>, Vhost>,
    /// The listener's own address.
    address: Vhost,
    /// Services that are visible here, by name.
    pub(crate) services: HashMap<Name, usize>,
}

/// What is served under one host name.
#[derive(Default)]
pub(crate) struct Vhost {
    /// `/api/predict/<service>` answers here.
    pub(crate) predict: bool,
    pub(crate) https_only: bool,
    /// The first match wins.
    pub(crate) routes: Vec<Entry>,
}

/// A service with what outlives its edits.
pub(crate) struct ServiceView {
    pub(crate) service: Arc<Service>,
    pub(crate) counters: Arc<ServiceCounters>,
    pub(crate) throttle: Arc<Gcra>,
}

// === impl View ===

impl View {
    /// A view that serves nothing.
    pub(crate) fn empty() -> Self {
        Self {
            generation: Generation::default(),
            snapshot: Arc::default(),
            tables: Arc::default(),
            listeners: Vec::new(),
            sockets: HashMap::new(),
            services: Vec::new(),
            own: Vec::new(),
        }
    }

    /// Builds the view of `snapshot`. `tls` gives a listener's certificates.
    pub(crate) fn build(
        snapshot: &Arc<Snapshot>,
        tables: Arc<FilterTables>,
        previous: &Self,
        traffic: &Traffic,
        sockets: HashMap<SocketId, (usize, Scheme)>,
        own: Vec<SocketAddr>,
        tls: impl Fn(&Listener) -> Option<Arc<TlsView>>,
    ) -> Self {
        let kept: HashMap<(&Name, &Name), &Arc<ServiceView>> = previous
            .services
            .iter()
            .map(|view| ((&view.service.gateway, &view.service.name), view))
            .collect();
        let services: Vec<Arc<ServiceView>> = snapshot
            .services
            .iter()
            .map(|service| match kept.get(&(&service.gateway, &service.name)) {
                Some(old) if old.service == *service => Arc::clone(old),
                old => Arc::new(ServiceView {
                    service: Arc::clone(service),
                    counters: traffic.service(&service.gateway, &service.name),
                    throttle: old.map(|old| Arc::clone(&old.throttle)).unwrap_or_default(),
                }),
            })
            .collect();
        let listeners = snapshot
            .listeners
            .iter()
            .map(|listener| ListenerView::build(listener, snapshot, traffic, tls(listener)))
            .collect();
        Self {
            generation: snapshot.generation,
            snapshot: Arc::clone(snapshot),
            tables,
            listeners,
            sockets,
            services,
            own,
        }
    }
}

// === impl ListenerView ===

impl ListenerView {
    fn build(
        listener: &Arc<Listener>,
        snapshot: &Snapshot,
        traffic: &Traffic,
        tls: Option<Arc<TlsView>>,
    ) -> Self {
        let gateway = &listener.gateway;
        let services: HashMap<Name, usize> = snapshot
            .services
            .iter()
            .enumerate()
            .filter(|(_, service)| {
                service.gateway == *gateway && service.visibility.admits(&listener.exposure)
            })
            .map(|(index, service)| (service.name.clone(), index))
            .collect();
        let domains: HashMap<&str, bool> = snapshot
            .domains
            .iter()
            .filter(|domain| domain.gateway == *gateway && domain.visibility.admits(&listener.exposure))
            .map(|domain| (domain.host.as_str(), domain.https_only))
            .collect();
        let routes: Vec<_> = snapshot.routes.iter().filter(|route| route.gateway == *gateway).collect();

        let vhost = |name: Option<&str>| {
            // A host under a wildcard domain has what that domain has, unless it is a domain of its own.
            let wildcard = name.and_then(parent).map(|suffix| format!("*{suffix}"));
            let domain = name
                .and_then(|name| domains.get(name))
                .or_else(|| wildcard.as_deref().and_then(|name| domains.get(name)));
            let mut entries: Vec<Entry> = routes
                .iter()
                .filter_map(|route| {
                    let host = match (&route.host, name) {
                        (None, _) => HostMatch::Any,
                        (Some(host), Some(name)) if host == name => HostMatch::Exact,
                        (Some(host), _) if Some(host) == wildcard.as_ref() => HostMatch::Wildcard,
                        (Some(_), _) => return None,
                    };
                    Some(Entry::new(route, host, |service| services.get(service).copied()))
                })
                .collect();
            route::order(&mut entries);
            Vhost {
                predict: name.is_none() || domain.is_some(),
                https_only: domain == Some(&true),
                routes: entries,
            }
        };
        let mut hosts = HashMap::new();
        let mut wildcards = HashMap::new();
        for name in domains.keys().copied().chain(routes.iter().filter_map(|route| route.host.as_deref())) {
            match name.strip_prefix('*') {
                Some(suffix) => wildcards.entry(suffix.into()).or_insert_with(|| vhost(Some(name))),
                None => hosts.entry(name.into()).or_insert_with(|| vhost(Some(name))),
            };
        }
        Self {
            listener: Arc::clone(listener),
            counters: traffic.listener(gateway, &listener.name),
            tls,
            hosts,
            wildcards,
            address: vhost(None),
            services,
        }
    }

    /// What is served under `host` to a connection that reached us at `local`.
    pub(crate) fn host(&self, host: &str, local: &LocalName) -> Option<&Vhost> {
        if let Some(vhost) = self.hosts.get(host) {
            return Some(vhost);
        }
        if local.is(host) {
            return Some(&self.address);
        }
        parent(host).and_then(|suffix| self.wildcards.get(suffix))
    }

    /// What is served to a request that names no host (HTTP/1.0).
    pub(crate) fn address(&self) -> &Vhost {
        &self.address
    }
}

/// The host without its first label, beginning with the dot.
fn parent(host: &str) -> Option<&str> {
    host.find('.').and_then(|dot| host.get(dot..)).filter(|suffix| suffix.len() > 1 && !host.starts_with('.'))
}

/// Whether a certificate with `names` covers `host`: a wildcard stands for exactly one label (RFC 6125 §6.4.3).
pub(crate) fn covers(names: &[String], host: &str) -> bool {
    names.iter().any(|name| match name.strip_prefix('*') {
        Some(suffix) => parent(host) == Some(suffix),
        None => name == host,
    })
}

/// The address at which a connection reached us, as a Host may spell it.
#[derive(Debug)]
pub(crate) struct LocalName {
    text: String,
    address: IpAddr,
}

impl LocalName {
    pub(crate) fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { text: address.to_string(), address }
    }

    /// The address as text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn is(&self, host: &str) -> bool {
        host == self.text
            || (self.address.is_loopback() && host == "localhost")
            // IPv6 has many spellings of one address.
            || (host.contains(':') && host.parse() == Ok(self.address))
    }
}

#[cfg(test)]
mod tests {
    use super::{LocalName, covers, parent};

    #[test]
    fn a_wildcard_covers_one_label() {
        let names = ["example.org".to_owned(), "*.example.org".to_owned()];
        assert!(covers(&names, "example.org") && covers(&names, "a.example.org"));
        assert!(
            !covers(&names, "a.b.example.org")
                && !covers(&names, ".example.org")
                && !covers(&names, "example.com")
        );
        assert_eq!(parent("localhost"), None);
    }

    #[test]
    fn the_local_address_is_known_in_every_spelling() {
        let local = LocalName::new("::1".parse().unwrap());
        assert!(local.is("::1") && local.is("0:0::0:1") && local.is("localhost") && !local.is("::2"));
        let local = LocalName::new("10.0.0.1".parse().unwrap());
        assert!(local.is("10.0.0.1") && !local.is("localhost") && !local.is("10.0.0.2"));
    }
}
