//! Active checks of instances, in one place for all workers.
//!
//! A thread of their own: on the control thread they would wait for edits, and be taken for late; on a worker they would
//! take time from requests, stop with its panic, and be made once per worker or need a worker that is special. Their
//! verdicts are in the members that all workers read.

mod judge;
mod probe;

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::Builder,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{AbortHandle, LocalSet, spawn_local},
    time::sleep,
};

use self::judge::Judge;
use super::{
    ClientTls, Place, Resolver,
    balance::mix,
    fleet,
    member::{Member, Verdict},
};
use crate::{
    proxy::{
        view::{ServiceView, View},
        worker::Shared,
    },
    snapshot::{http::Instance, upstream::HealthCheck},
};

/// The thread that checks.
pub(crate) struct Checks {
    /// `None`: it was told to end.
    views: Option<UnboundedSender<Arc<View>>>,
    thread: Option<JoinHandle<()>>,
}

/// What an instance is checked with.
#[derive(Clone)]
struct How {
    check: HealthCheck,
    tls: Option<Arc<ClientTls>>,
    http2: bool,
}

/// One instance's checks.
struct Task {
    how: How,
    member: Arc<Member>,
    running: AbortHandle,
}

// === impl Checks ===

impl Checks {
    /// Starts the thread. It checks nothing before the first view.
    ///
    /// # Errors
    /// No thread.
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (views, receiver) = unbounded_channel();
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name("health".to_owned()).spawn(move || {
            if shared.config.drop_capabilities {
                crate::proxy::worker::drop_capabilities();
            }
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    LocalSet::new().block_on(&runtime, run(receiver, &shared));
                    // A lookup that hangs is not waited for.
                    runtime.shutdown_background();
                }
                Err(error) => tracing::error!(%error, "instances are not checked"),
            }
        })?;
        Ok(Self { views: Some(views), thread: Some(thread) })
    }

    /// Checks what this view says from now on.
    pub(crate) fn watch(&self, view: &Arc<View>) {
        let views = self.views.as_ref();
        if views.is_none_or(|views| views.send(Arc::clone(view)).is_err()) {
            tracing::error!("the thread that checks instances is gone");
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.views = None;
        if let Some(thread) = self.thread.take() {
            // Its loop has no more views, and ends at its next turn.
            let _ = thread.join();
        }
    }
}

async fn run(mut views: UnboundedReceiver<Arc<View>>, shared: &Arc<Shared>) {
    let resolver = Resolver::new();
    let current = Rc::new(RefCell::new(Arc::new(View::empty())));
    // By the member itself, which the task keeps alive.
    let mut tasks: HashMap<*const Member, Task> = HashMap::new();
    while let Some(view) = views.recv().await {
        *current.borrow_mut() = Arc::clone(&view);
        let mut next = HashMap::new();
        for service in &view.services {
            let Some(check) = &service.service.upstream.health else { continue };
            let how = How {
                check: check.clone(),
                tls: service.tls.clone(),
                http2: service.service.protocol.is_http2(),
            };
            for (instance, member) in service.service.instances.iter().zip(&service.fleet.members) {
                let key = Arc::as_ptr(member);
                let task = match tasks.remove(&key) {
                    // What did not change goes on, in its rhythm and with its results in a row.
                    Some(task) if task.how.is(&how) => task,
                    _ => start(&how, service, instance, member, (&resolver, &current), shared),
                };
                next.insert(key, task);
            }
        }
        // A task that was replaced has its member in the new one, which goes on with its verdict.
        for (key, task) in tasks.drain() {
            if !next.contains_key(&key) {
                task.member.judge(Verdict::None, fleet::tick(shared.base));
            }
        }
        tasks = next;
    }
}

fn start(
    how: &How,
    service: &ServiceView,
    instance: &Instance,
    member: &Arc<Member>,
    (resolver, current): (&Rc<Resolver>, &Rc<RefCell<Arc<View>>>),
    shared: &Arc<Shared>,
) -> Task {
    let place = Place::new(&instance.host, instance.port, how.tls.clone());
    let name = service.service.name.clone();
    let (own, inner, shared) = (how.clone(), Arc::clone(member), Arc::clone(shared));
    let (resolver, current) = (Rc::clone(resolver), Rc::clone(current));
    let running = spawn_local(async move {
        let mut judge = Judge::of(inner.healthy());
        let mut chance = inner.identity;
        let mut random = || {
            chance = mix(chance);
            chance as u32
        };
        sleep(judge::first(own.check.interval, random())).await;
        loop {
            let view = Arc::clone(&current.borrow());
            let result = probe::probe(&place, own.http2, &own.check, &resolver, &view).await;
            if result.is_err() {
                inner.check_failed();
            }
            let verdict = judge.note(result.is_ok(), &own.check);
            if let Some(healthy) = verdict {
                let verdict = if healthy { Verdict::Healthy } else { Verdict::Unhealthy };
                if inner.judge(verdict, fleet::tick(shared.base)) {
                    let why = result.err().unwrap_or_default();
                    tracing::warn!(service = %name, instance = inner.name, healthy, why, "health");
                }
            }
            sleep(judge::pause(own.check.interval, random())).await;
        }
    });
    Task { how: how.clone(), member: Arc::clone(member), running: running.abort_handle() }
}

// === impl How ===

impl How {
    fn is(&self, other: &Self) -> bool {
        let same = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(mine), Some(other)) => Arc::ptr_eq(mine, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        same && self.check == other.check && self.http2 == other.http2
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.running.abort();
    }
}
