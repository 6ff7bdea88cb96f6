//! Pure: one snapshot as the workers read it: per listener its sites and certificates, per service its runtime state. Whatever did not change is taken over from the previous view, with its counters and its throttle.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use super::{
    listener::SocketId,
    sites::Sites,
    throttle::Gcra,
    tls::TlsView,
    upstream::{ClientTls, Fleet},
};
use crate::{
    base::{Generation, Name},
    observe::traffic::{ListenerCounters, ServiceCounters, Traffic},
    snapshot::{Exposure, Listener, Snapshot, filter::FilterTables, http::Service},
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
    pub(crate) sites: Arc<Sites>,
}

/// A service with what outlives its edits.
pub(crate) struct ServiceView {
    pub(crate) service: Arc<Service>,
    pub(crate) counters: Arc<ServiceCounters>,
    pub(crate) throttle: Arc<Gcra>,
    /// TLS towards the instances; `None`: plain TCP.
    pub(crate) tls: Option<Arc<ClientTls>>,
    pub(crate) fleet: Arc<Fleet>,
}

/// The gateway's sockets, as a view has them.
pub(crate) struct Sockets {
    /// Listener index and scheme of each.
    pub(crate) listening: HashMap<SocketId, (usize, Scheme)>,
    /// Addresses of the gateway itself.
    pub(crate) own: Vec<SocketAddr>,
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

    /// Builds the view of `snapshot`. `tls` gives a listener's certificates, `service` makes the view of a service
    /// that is new or edited, of the one before.
    pub(crate) fn build(
        snapshot: &Arc<Snapshot>,
        tables: Arc<FilterTables>,
        previous: &Self,
        traffic: &Traffic,
        sockets: Sockets,
        tls: impl Fn(&Listener) -> Option<Arc<TlsView>>,
        service: impl Fn(&Arc<Service>, Option<&ServiceView>) -> ServiceView,
    ) -> Self {
        let kept: HashMap<(&Name, &Name), &Arc<ServiceView>> = previous
            .services
            .iter()
            .map(|view| ((&view.service.gateway, &view.service.name), view))
            .collect();
        let services: Vec<Arc<ServiceView>> = snapshot
            .services
            .iter()
            .map(|next| match kept.get(&(&next.gateway, &next.name)) {
                Some(old) if old.service == *next => Arc::clone(old),
                old => Arc::new(service(next, old.map(|old| &***old))),
            })
            .collect();
        // Shared by listeners of one gateway and exposure, and taken over while nothing that is matched changes.
        let mut shared: HashMap<(&Name, &Exposure), Arc<Sites>> = HashMap::new();
        if Sites::same(&previous.snapshot, snapshot) {
            let known = previous.listeners.iter();
            shared
                .extend(known.map(|view| {
                    ((&view.listener.gateway, &view.listener.exposure), Arc::clone(&view.sites))
                }));
        }
        let listeners = snapshot
            .listeners
            .iter()
            .map(|listener| {
                let (gateway, exposure) = (&listener.gateway, &listener.exposure);
                let sites = shared
                    .entry((gateway, exposure))
                    .or_insert_with(|| Arc::new(Sites::build(gateway, exposure, snapshot)));
                ListenerView {
                    listener: Arc::clone(listener),
                    counters: traffic.listener(gateway, &listener.name),
                    tls: tls(listener),
                    sites: Arc::clone(sites),
                }
            })
            .collect();
        Self {
            generation: snapshot.generation,
            snapshot: Arc::clone(snapshot),
            tables,
            listeners,
            sockets: sockets.listening,
            services,
            own: sockets.own,
        }
    }
}
