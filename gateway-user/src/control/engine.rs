//! The control plane's handle: every query and every change goes through it.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::{
    Change, Config, Document, Edit, Options, Outcome,
    view::{
        AllowView, CertificateView, DomainView, GatewayView, HistoryView, ListView, ListenerView, RouteView,
        ServiceView, StatusView,
    },
};
use crate::{
    base::{Generation, Refusal},
    snapshot::{Snapshot, Subscriber},
};

/// The only writer of the configuration.
pub struct Control {
    inner: Rc<()>,
}

impl Control {
    /// Opens the state, publishes its generation to the subscribers and returns when they enforce it.
    ///
    /// # Errors
    /// The state cannot be used: the refusal names file and cure.
    pub fn open(config: Config, subscribers: Vec<Box<dyn Subscriber>>) -> Result<Self, Refusal> {
        drop((config, subscribers));
        Ok(Self { inner: Rc::new(()) })
    }

    /// Makes one change.
    ///
    /// # Errors
    /// The change is refused; nothing is different.
    pub fn edit(&mut self, edit: Edit, options: Options) -> Result<Outcome, Refusal> {
        drop((edit, options));
        Err(unfinished())
    }

    /// Keeps the change that waits for a confirmation.
    ///
    /// # Errors
    /// None waits.
    pub fn confirm(&mut self) -> Result<Generation, Refusal> {
        Err(unfinished())
    }

    /// Publishes the generation in force once more (an interface or address came or went).
    ///
    /// # Errors
    /// A subscriber could not enforce it.
    pub fn republish(&mut self) -> Result<(), Refusal> {
        Err(unfinished())
    }

    /// When [`Self::tick`] has something to do next, as time since the Unix epoch.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// Ends drains and undoes changes that were not confirmed in time.
    ///
    /// # Errors
    /// The change could not be published; it is tried again at the next tick.
    pub fn tick(&mut self, now: Duration) -> Result<(), Refusal> {
        let _ = now;
        Ok(())
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let _ = &self.inner;
        Arc::default()
    }

    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation::default()
    }

    #[must_use]
    pub fn status(&self) -> StatusView {
        StatusView {
            generation: self.generation(),
            enforcers: Vec::new(),
            listeners: 0,
            domains: 0,
            certificates: 0,
            services: 0,
            routes: 0,
            failure: None,
            confirm_by: None,
        }
    }

    #[must_use]
    pub fn gateways(&self) -> ListView<GatewayView> {
        ListView { generation: self.generation(), items: Vec::new() }
    }

    #[must_use]
    pub fn listeners(&self) -> ListView<ListenerView> {
        ListView { generation: self.generation(), items: Vec::new() }
    }

    /// # Errors
    /// `not_found`.
    pub fn listener(&self, name: &str) -> Result<ListenerView, Refusal> {
        Err(Refusal::new("not_found", name))
    }

    /// # Errors
    /// `not_found`.
    pub fn allowlist(&self, listener: &str) -> Result<AllowView, Refusal> {
        Err(Refusal::new("not_found", listener))
    }

    #[must_use]
    pub fn certificates(&self) -> ListView<CertificateView> {
        ListView { generation: self.generation(), items: Vec::new() }
    }

    /// # Errors
    /// `not_found`.
    pub fn certificate(&self, name: &str) -> Result<CertificateView, Refusal> {
        Err(Refusal::new("not_found", name))
    }

    #[must_use]
    pub fn domains(&self) -> ListView<DomainView> {
        ListView { generation: self.generation(), items: Vec::new() }
    }

    /// # Errors
    /// `not_found`.
    pub fn domain(&self, host: &str) -> Result<DomainView, Refusal> {
        Err(Refusal::new("not_found", host))
    }

    #[must_use]
    pub fn services(&self) -> ListView<ServiceView> {
        ListView { generation: self.generation(), items: Vec::new() }
    }

    /// # Errors
    /// `not_found`.
    pub fn service(&self, name: &str) -> Result<ServiceView, Refusal> {
        Err(Refusal::new("not_found", name))
    }

    #[must_use]
    pub fn routes(&self) -> ListView<RouteView> {
        ListView { generation: self.generation(), items: Vec::new() }
    }

    /// # Errors
    /// `not_found`.
    pub fn route(&self, name: &str) -> Result<RouteView, Refusal> {
        Err(Refusal::new("not_found", name))
    }

    /// Newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn history(&self) -> Result<ListView<HistoryView>, Refusal> {
        Err(unfinished())
    }

    /// What `apply` of this document would change.
    ///
    /// # Errors
    /// The document is refused.
    pub fn diff(&self, document: Document) -> Result<Vec<Change>, Refusal> {
        drop(document);
        Err(unfinished())
    }

    /// The configuration as a document; secrets by fingerprint unless `secrets`.
    ///
    /// # Errors
    /// None that is expected.
    pub fn export(&self, secrets: bool) -> Result<Document, Refusal> {
        let _ = secrets;
        Err(unfinished())
    }
}

fn unfinished() -> Refusal {
    Refusal::new("unfinished", "not there yet")
}
