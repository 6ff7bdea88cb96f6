//! What handlers work on: the control plane, and what the other rooms report.

use std::{cell::RefCell, path::PathBuf, rc::Rc, sync::Arc, time::Instant};

use super::{request::Request, wire::WorkerStatus};
use crate::{
    base::{Refusal, clock},
    control::{Control, Edit, Options, Outcome},
    defence::Bans,
    observe::{
        address::AddressStatus, dns::NameSource, filter::FilterSource, liveness::Liveness,
        reach::Reachability, seen::SeenSource, traffic::Traffic,
    },
};

/// Facts of this process.
#[derive(Clone, Debug)]
pub struct Process {
    pub version: &'static str,
    pub started: Instant,
    pub state: PathBuf,
}

/// The sockets of one listener, as the proxy reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketStatus {
    pub listener: String,
    /// `listening`, `closed` (bound, every connection refused), `waiting` or `failed`.
    pub state: String,
    /// What stands in the way.
    pub error: Option<String>,
}

/// What `app` lends from the other rooms. All of it is optional, so that the API stands without a data plane.
#[derive(Default)]
pub struct Sources {
    pub filter: Option<Rc<dyn FilterSource>>,
    /// What became of the addresses that the gateway holds.
    pub addresses: Option<Box<dyn Fn() -> Vec<AddressStatus>>>,
    /// Which networks can be reached.
    pub reach: Option<Box<dyn Fn() -> Vec<Reachability>>>,
    pub names: Option<Rc<dyn NameSource>>,
    /// The generation of each worker.
    pub workers: Option<Box<dyn Fn() -> Vec<WorkerStatus>>>,
    /// The sockets of each listener.
    pub sockets: Option<Box<dyn Fn() -> Vec<SocketStatus>>>,
    /// Who uses the listeners.
    pub seen: Option<Box<dyn SeenSource>>,
    /// Addresses that cannot be reached now.
    pub liveness: Option<Liveness>,
    /// Who is banned.
    pub bans: Option<Rc<dyn Bans>>,
    /// The proxy's counters.
    pub traffic: Option<Arc<Traffic>>,
}

/// Shared by all connections of the control socket; everything runs on one thread.
pub struct Context {
    pub control: Rc<RefCell<Control>>,
    pub process: Process,
    pub sources: Sources,
}

impl Context {
    /// A context for `serve`.
    #[must_use]
    pub fn new(control: Rc<RefCell<Control>>, process: Process, sources: Sources) -> Self {
        Self { control, process, sources }
    }

    /// Makes one change in the name of who asks.
    pub(super) fn edit(&self, request: &Request, edit: Edit) -> Result<Outcome, Refusal> {
        let options = Options {
            dry_run: request.dry_run()?,
            actor: Some(request.uid),
            confirm: request.confirm()?,
            caller: request.caller()?,
            force: request.query.flag("force")?,
        };
        let summary = edit.summary();
        let mut outcome = self.control.borrow_mut().edit(edit, options);
        match &mut outcome {
            Ok(outcome) => outcome.notes.extend(self.stuck()),
            // The control plane logs what it changed; what was refused is only known here.
            Err(refusal) => {
                tracing::warn!(uid = request.uid, code = refusal.code, "refused: {summary}: {refusal}");
            }
        }
        outcome
    }

    /// The generation of each worker.
    pub(super) fn workers(&self) -> Vec<WorkerStatus> {
        self.sources.workers.as_ref().map(|workers| workers()).unwrap_or_default()
    }

    /// What is to be said of workers that do not serve the generation in force: a change waits for all of them, so that
    /// one which is behind after it is stuck.
    pub(super) fn stuck(&self) -> Vec<String> {
        let current = self.control.borrow().generation();
        let behind = self.workers().into_iter().filter(|one| one.generation != current);
        behind
            .map(|one| {
                format!(
                    "worker {} is stuck: it serves generation {}, not {current}",
                    one.worker, one.generation
                )
            })
            .collect()
    }

    /// Seconds since the start of the daemon.
    pub(super) fn uptime(&self) -> u64 {
        clock::now().saturating_duration_since(self.process.started).as_secs()
    }
}
