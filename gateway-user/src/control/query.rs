//! What the control plane answers without changing anything.

use std::{net::IpAddr, sync::Arc};

use serde_json::Value;

use super::{
    Caller, Control, Document, Edit,
    compile::compile,
    diff::diff,
    state::{State, export::Secrets, not_found},
    view::{
        AccountView, AllowView, CertificateView, ConfirmView, Difference, DomainView, EndpointServiceView,
        EndpointView, EnforcerView, GatewayView, HistoryView, ListView, ListenerView, RouteView, ServiceView,
        StatusView, VpcView, build,
    },
};
use crate::{
    base::{Generation, Refusal, Site},
    resource::{Host, Kind},
    snapshot::Snapshot,
};

impl Control {
    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.live)
    }

    /// The generation in force.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.saved.generation
    }

    /// Why the generation could not be put in force; absent when all is well.
    #[must_use]
    pub fn failure(&self) -> Option<&Refusal> {
        self.failure.as_ref().map(|(refusal, _)| refusal)
    }

    /// The control plane's part of `status`.
    #[must_use]
    pub fn status(&self) -> StatusView {
        let state = &self.saved.state;
        let enforcers = self.publisher.subscribers();
        StatusView {
            generation: self.saved.generation,
            enforcers: enforcers
                .map(|one| EnforcerView { name: one.name(), generation: one.generation() })
                .collect(),
            listeners: state.listeners.len(),
            vpcs: state.vpcs.len(),
            domains: state.domains.len(),
            certificates: state.certificates.len(),
            services: state.services.len(),
            routes: state.routes.len(),
            endpoint_services: state.endpoint_services.len(),
            endpoints: state.endpoints.len(),
            failure: self.failure().cloned(),
            confirm: self.saved.pending.as_ref().map(|pending| ConfirmView {
                by: pending.until,
                left: pending.until.saturating_sub(self.now().as_secs()),
                back_to: pending.back_to,
            }),
        }
    }

    /// Every gateway.
    #[must_use]
    pub fn gateways(&self) -> ListView<GatewayView> {
        self.list(build::gateways(&self.saved.state, &self.site))
    }

    /// # Errors
    /// `not_found`.
    pub fn gateway(&self, name: &str) -> Result<GatewayView, Refusal> {
        let mut all = build::gateways(&self.saved.state, &self.site).into_iter();
        all.find(|one| one.name.as_str() == name).ok_or_else(|| not_found(Kind::Gateway, name))
    }

    /// Every endpoint service, or those with this text in one of their names.
    #[must_use]
    pub fn endpoint_services(&self, search: Option<&str>) -> ListView<EndpointServiceView> {
        let state = &self.saved.state;
        let search = search.map(str::to_ascii_lowercase);
        let found = |one: &EndpointServiceView| {
            search.as_ref().is_none_or(|text| {
                [one.name.as_str(), &one.service_name, &one.dns]
                    .iter()
                    .any(|name| name.to_ascii_lowercase().contains(text.as_str()))
            })
        };
        let all = state.endpoint_services.values().map(|one| build::endpoint_service(state, one));
        self.list(all.filter(found).collect())
    }

    /// # Errors
    /// `not_found`.
    pub fn endpoint_service(&self, name: &str) -> Result<EndpointServiceView, Refusal> {
        let state = &self.saved.state;
        let found =
            state.endpoint_services.get(name).ok_or_else(|| not_found(Kind::EndpointService, name))?;
        Ok(build::endpoint_service(state, found))
    }

    /// Every endpoint.
    #[must_use]
    pub fn endpoints(&self) -> ListView<EndpointView> {
        let state = &self.saved.state;
        let all = state.endpoints.values();
        self.list(all.filter_map(|record| build::endpoint(state, record, &self.site)).collect())
    }

    /// # Errors
    /// `not_found`.
    pub fn endpoint(&self, name: &str) -> Result<EndpointView, Refusal> {
        let state = &self.saved.state;
        let found = state.endpoints.get(name).and_then(|record| build::endpoint(state, record, &self.site));
        found.ok_or_else(|| not_found(Kind::Endpoint, name))
    }

    /// Every listener.
    #[must_use]
    pub fn listeners(&self) -> ListView<ListenerView> {
        self.list(self.saved.state.listeners.values().map(|record| build::listener(record)).collect())
    }

    /// # Errors
    /// `not_found`.
    pub fn listener(&self, name: &str) -> Result<ListenerView, Refusal> {
        let record = self.saved.state.listeners.get(name).ok_or_else(|| not_found(Kind::Listener, name))?;
        Ok(build::listener(record))
    }

    /// Every account.
    #[must_use]
    pub fn accounts(&self) -> ListView<AccountView> {
        self.list(build::accounts(&self.saved.state, &self.site))
    }

    /// # Errors
    /// `not_found`.
    pub fn account(&self, name: &str) -> Result<AccountView, Refusal> {
        let all = build::accounts(&self.saved.state, &self.site);
        all.into_iter().find(|one| &*one.name == name).ok_or_else(|| not_found(Kind::Account, name))
    }

    /// Every private network.
    #[must_use]
    pub fn vpcs(&self) -> ListView<VpcView> {
        let state = &self.saved.state;
        self.list(state.vpcs.values().map(|vpc| build::vpc(state, vpc, &self.site)).collect())
    }

    /// # Errors
    /// `not_found`.
    pub fn vpc(&self, name: &str) -> Result<VpcView, Refusal> {
        let vpc = self.saved.state.vpcs.get(name).ok_or_else(|| not_found(Kind::Vpc, name))?;
        Ok(build::vpc(&self.saved.state, vpc, &self.site))
    }

    /// The first entries of an allowlist, from `offset` on.
    ///
    /// # Errors
    /// `not_found`.
    pub fn allowlist(&self, listener: &str, offset: usize, limit: usize) -> Result<AllowView, Refusal> {
        let record =
            self.saved.state.listeners.get(listener).ok_or_else(|| not_found(Kind::Listener, listener))?;
        Ok(build::allowlist(record, self.saved.generation, offset, limit))
    }

    /// Every certificate.
    #[must_use]
    pub fn certificates(&self) -> ListView<CertificateView> {
        let state = &self.saved.state;
        self.list(
            state.certificates.values().filter_map(|record| build::certificate(state, record)).collect(),
        )
    }

    /// # Errors
    /// `not_found`.
    pub fn certificate(&self, name: &str) -> Result<CertificateView, Refusal> {
        let state = &self.saved.state;
        let found = state.certificates.get(name).and_then(|record| build::certificate(state, record));
        found.ok_or_else(|| not_found(Kind::Certificate, name))
    }

    /// Every domain.
    #[must_use]
    pub fn domains(&self) -> ListView<DomainView> {
        let state = &self.saved.state;
        self.list(state.domains.values().map(|domain| build::domain(state, domain)).collect())
    }

    /// # Errors
    /// `not_found`.
    pub fn domain(&self, host: &str) -> Result<DomainView, Refusal> {
        let state = &self.saved.state;
        let found = host.parse::<Host>().ok().and_then(|host| state.domains.get(&host));
        found.map(|domain| build::domain(state, domain)).ok_or_else(|| not_found(Kind::Domain, host))
    }

    /// Every service.
    #[must_use]
    pub fn services(&self) -> ListView<ServiceView> {
        let state = &self.saved.state;
        let view = |record| build::service(state, &self.site, record, &interface_addresses);
        self.list(state.services.values().map(|record| view(record)).collect())
    }

    /// # Errors
    /// `not_found`.
    pub fn service(&self, name: &str) -> Result<ServiceView, Refusal> {
        let record = self.saved.state.services.get(name).ok_or_else(|| not_found(Kind::Service, name))?;
        Ok(build::service(&self.saved.state, &self.site, record, &interface_addresses))
    }

    /// Every route.
    #[must_use]
    pub fn routes(&self) -> ListView<RouteView> {
        self.list(self.saved.state.routes.values().map(|route| build::route(route)).collect())
    }

    /// # Errors
    /// `not_found`.
    pub fn route(&self, name: &str) -> Result<RouteView, Refusal> {
        let route = self.saved.state.routes.get(name).ok_or_else(|| not_found(Kind::Route, name))?;
        Ok(build::route(route))
    }

    /// Newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn history(&self) -> Result<ListView<HistoryView>, Refusal> {
        Ok(self.list(self.store.history()?))
    }

    /// What a generation of the history was; secrets by hash and fingerprint.
    ///
    /// # Errors
    /// `not_found`, or the store cannot be read.
    pub fn document(&self, generation: Generation) -> Result<Document, Refusal> {
        self.store.document(generation)
    }

    /// What `apply` of this document would change.
    ///
    /// # Errors
    /// The document is refused.
    pub fn diff(&self, document: Document, caller: Option<&Caller>) -> Result<Difference, Refusal> {
        let mut state = self.saved.state.clone();
        self.with_context(|context| state.edit(Edit::Apply(Box::new(document)), context))?;
        let next = compile(&state, &self.site, self.saved.last.next(), &self.live)?;
        let (loss, note) = self.loss(&next, caller)?;
        Ok(Difference {
            changes: diff(&self.saved.state, &state),
            loss,
            notes: note.iter().map(ToString::to_string).collect(),
        })
    }

    /// The configuration as a document; secrets by fingerprint, or whole.
    #[must_use]
    pub fn export(&self, secrets: bool) -> Document {
        self.saved.state.export(if secrets { Secrets::Whole } else { Secrets::Fingerprints })
    }

    fn list<T>(&self, items: Vec<T>) -> ListView<T> {
        ListView { generation: self.saved.generation, items }
    }
}

/// The item of an outcome, as its `show` has it; null when it is gone.
pub(super) fn item(state: &State, site: &Site, kind: Kind, name: &str) -> Value {
    let view = match kind {
        Kind::Gateway => return Value::Null,
        Kind::Listener => {
            state.listeners.get(name).map(|record| serde_json::to_value(build::listener(record)))
        }
        Kind::Account => {
            let all = build::accounts(state, site);
            all.into_iter().find(|one| &*one.name == name).map(serde_json::to_value)
        }
        Kind::Vpc => state.vpcs.get(name).map(|vpc| serde_json::to_value(build::vpc(state, vpc, site))),
        Kind::Certificate => state
            .certificates
            .get(name)
            .and_then(|record| build::certificate(state, record))
            .map(serde_json::to_value),
        Kind::Domain => {
            state.domains.get(name).map(|domain| serde_json::to_value(build::domain(state, domain)))
        }
        Kind::Service => {
            let view =
                |record| serde_json::to_value(build::service(state, site, record, &interface_addresses));
            state.services.get(name).map(|record| view(record))
        }
        Kind::Route => state.routes.get(name).map(|route| serde_json::to_value(build::route(route))),
        Kind::EndpointService => state
            .endpoint_services
            .get(name)
            .map(|service| serde_json::to_value(build::endpoint_service(state, service))),
        Kind::Endpoint => state
            .endpoints
            .get(name)
            .and_then(|record| build::endpoint(state, record, site))
            .map(serde_json::to_value),
    };
    view.and_then(Result::ok).unwrap_or_default()
}

/// The interface that has this address at this moment.
pub(super) fn interface_of(ip: IpAddr) -> Option<String> {
    let mut all = nix::ifaddrs::getifaddrs().ok()?;
    all.find(|one| one.address.and_then(address) == Some(ip)).map(|one| one.interface_name)
}

fn address(storage: nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// The addresses of an interface at this moment, without link-local ones, which need a scope that a URL cannot have.
fn interface_addresses(interface: &str) -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    all.filter(|one| one.interface_name == interface)
        .filter_map(|one| one.address.and_then(address))
        .filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect()
}
