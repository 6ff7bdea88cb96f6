//! Pure: the seam between the control plane and what enforces a snapshot (the kernel filter, the proxy).

use std::sync::Arc;

use super::Snapshot;
use crate::base::{Generation, Refusal};

/// One enforcer of snapshots. `control::publish` drives all of them through a change:
/// `stage` each → persist → `hush` each → `commit` each; or, when anything fails before the commit, `abandon` those staged.
///
/// The order of subscribers is the order of safety: the filter is first, so a port is guarded before it listens, and a
/// removed CIDR is dropped in the kernel before the proxy cuts its connections.
pub trait Subscriber {
    /// Word for logs and status: `filter`, `proxy`.
    fn name(&self) -> &'static str;

    /// Does everything that can fail, without changing a verdict or answering a connection: resolve interfaces, attach
    /// programs, write tables aside and read them back, bind (not listen on) sockets, build TLS configurations.
    ///
    /// # Errors
    /// The snapshot cannot be enforced here; nothing changed.
    fn stage(&mut self, next: &Arc<Snapshot>) -> Result<(), Refusal>;

    /// Stops answering where the staged snapshot has nobody listening any more. All are asked, after the snapshot is
    /// stored and before the first commit: a port must not outlive its guard. `commit` or `abandon` follows, and the
    /// latter answers again.
    fn hush(&mut self) {}

    /// Makes the staged snapshot live and returns when it is enforced everywhere.
    ///
    /// # Errors
    /// It could not be made live; the previous snapshot still is.
    fn commit(&mut self) -> Result<(), Refusal>;

    /// Forgets what was staged.
    fn abandon(&mut self);

    /// The generation enforced now.
    fn generation(&self) -> Generation;
}
