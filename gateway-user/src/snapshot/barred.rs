//! Pure: interfaces on which nothing may be bound, because the kernel filter is required there and is not on.
//!
//! The filter writes it when it stages a change, and the proxy, which comes after it, reads it before it binds. Sockets
//! that are bound already stay: the check at accept stands behind them, and the filter is put back under them.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;

use crate::base::Refusal;

/// The barred interfaces and why; a handle that both sides share.
#[derive(Clone, Debug, Default)]
pub struct Barred(Arc<ArcSwap<BTreeMap<String, Refusal>>>);

impl Barred {
    /// Takes the place of what was barred.
    pub fn set(&self, interfaces: BTreeMap<String, Refusal>) {
        self.0.store(Arc::new(interfaces));
    }

    /// Why nothing may be bound on `interface`.
    #[must_use]
    pub fn why(&self, interface: &str) -> Option<Refusal> {
        self.0.load().get(interface).cloned()
    }
}
