//! The parts of a running daemon beside its control plane, each shared by upkeep, reports and the end.

use std::rc::Rc;

use super::{defence::Defence, shared::Shared};
use crate::{
    dns::Dns,
    kernel::{Addresses, Filter, Reach},
    observe::liveness::Liveness,
    proxy::Proxy,
};

/// Handles; a clone is another handle of the same parts.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) filter: Shared<Filter>,
    pub(super) addresses: Shared<Addresses>,
    pub(super) dns: Shared<Dns>,
    pub(super) proxy: Shared<Proxy>,
    pub(super) reach: Shared<Reach>,
    pub(super) liveness: Liveness,
    pub(super) defence: Rc<Defence>,
}
