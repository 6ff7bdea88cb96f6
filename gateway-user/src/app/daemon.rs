//! The daemon's life: what is opened in which order, the upkeep while it runs, and how it ends.
//!
//! Order of start: settings → directories and sockets that need root → the filter's pins → privileges → workers →
//! the control plane, which replays the last generation (tables, then programs, then listening sockets) → the control
//! socket. Nothing answers before the policy of the last generation is enforced again.

use std::{
    cell::{Cell, RefCell},
    fs::{DirBuilder, Permissions},
    num::NonZeroUsize,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::LocalSet,
    time::MissedTickBehavior,
};

use super::{defence::Defence, liveness, parts::Parts, privileges, shared::Shared, sources};
use crate::{
    api::{self, Writers},
    base::clock,
    control::{self, Control, FirstStart},
    defence::{self, Reports},
    dns::{self, Dns},
    kernel::{self, Addresses, Filter, Reach},
    observe::{
        access::Target,
        liveness::Liveness,
        metrics::{FilterMetrics, Metrics, NameMetrics, admin},
    },
    proxy::{self, Proxy},
    settings::{AccessLog, ClosedMode, FilterMode, Settings, UnknownSni},
    snapshot::Barred,
};

/// How often drops are read and their sample is adapted.
const POLL: Duration = Duration::from_millis(100);
/// How often interfaces are looked at, waiting addresses retried and the filter's counters copied for metrics.
const UPKEEP: Duration = Duration::from_secs(1);
/// How long requests in flight may take after a signal to stop. A second signal ends them at once.
const GRACE: Duration = Duration::from_secs(20);

/// Runs until a signal says stop.
pub(super) fn run(settings: &Settings) -> anyhow::Result<()> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    private_directory(&settings.state)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, serve(settings))
}

async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let descriptors = raise_descriptors();
    let filter = Filter::open(filter_config(settings))?;
    // What needs root comes before privileges are dropped; the socket's directory may belong to root.
    let writers = Writers::new(settings.control_group.as_deref())?;
    if let Some(directory) = settings.socket.parent().filter(|directory| !directory.exists()) {
        public_directory(directory)?;
    }
    let socket = api::bind(&settings.socket, settings.socket_mode, &writers)?;
    let admin = match settings.admin {
        Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
            format!("cannot serve metrics on {address}; name another address with --admin, or --admin off")
        })?),
        None => None,
    };
    if let Some(user) = &settings.user {
        let account = privileges::account(user)?;
        filter.give(account.uid.as_raw(), account.gid.as_raw())?;
        privileges::become_user(&account, &[&settings.state])?;
    }
    // After the change of user: the daemon's own user may write.
    let writers = Writers::new(settings.control_group.as_deref()).unwrap_or(writers);

    let (reports, inbox) = defence::reports();
    let mut config = proxy_config(settings, filter.barred(), reports);
    // A connection needs a descriptor, and its request another one to an instance.
    config.limits.connections = config.limits.connections.min(descriptors / 2);
    let proxy = Proxy::start(config).context("the proxy cannot start")?;
    let traffic = proxy.counters();
    let liveness = Liveness::default();
    let (filter, proxy) = (Shared::new(filter), Shared::new(proxy));
    let addresses = Shared::new(Addresses::open(&settings.state)?);
    let dns = Shared::new(Dns::start(dns_config(settings, &liveness))?);
    let mut control = Control::open(
        control::Config {
            state: settings.state.clone(),
            owner: None,
            first_start: if settings.root { FirstStart::Empty } else { FirstStart::Local },
            own: settings.admin.into_iter().collect(),
            site: settings.site.clone(),
        },
        // The order of safety: an address appears when the filter guards it.
        vec![
            Box::new(filter.clone()),
            Box::new(addresses.clone()),
            Box::new(dns.clone()),
            Box::new(proxy.clone()),
        ],
    )?;
    let parts = Parts {
        // An earlier daemon's bans are in the tables, which the control plane has opened by now.
        defence: Rc::new(Defence::open(settings.defence.clone(), inbox, &filter)),
        filter,
        addresses,
        dns,
        proxy,
        reach: Shared::new(Reach::default()),
        liveness,
    };
    let users = parts.proxy.clone();
    control.watch(Box::new(move || users.0.borrow().seen()));
    let control = Rc::new(RefCell::new(control));
    liveness::look(&control.borrow().snapshot(), &parts.liveness);
    say_what_is_in_force(&control, &parts);

    let metrics = Arc::new(Metrics::new(traffic));
    let filter_metrics = FilterMetrics::default();
    metrics.register(Box::new(filter_metrics.clone()));
    metrics.register(Box::new(NameMetrics(parts.dns.0.borrow().counters())));
    let context = api::Context::new(
        Rc::clone(&control),
        api::Process {
            version: env!("CARGO_PKG_VERSION"),
            started: clock::now(),
            state: settings.state.clone(),
        },
        sources::sources(&parts),
    );
    let (stop, stopped) = watch::channel(false);
    let api = tokio::task::spawn_local(control_socket(socket, Rc::new(context), writers, stopped.clone()));
    let (gone, admin_stopped) = watch::channel(false);
    let stopping = Rc::new(Cell::new(false));
    if let Some(listener) = admin {
        // Ready: every data path serves the generation that the store has.
        // Weak, because a scraper's connection must not keep the control plane from ending.
        let control = Rc::downgrade(&control);
        let stopping = Rc::clone(&stopping);
        let ready = move || {
            !stopping.get() && control.upgrade().is_some_and(|control| control.borrow().failure().is_none())
        };
        // Until the very end: a stop can be watched, and `/readyz` says that it has begun.
        tokio::task::spawn_local(admin::serve(listener, metrics, ready, ended(admin_stopped)));
    }
    let upkeep = tokio::task::spawn_local(upkeep(Rc::clone(&control), parts.clone(), filter_metrics));

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(
        "stopping: requests in flight have {GRACE:?}; the filter stays attached (`gateway detach` takes it off)"
    );
    // Whoever asks whether to send clients here is told so before the first of them is turned away.
    stopping.set(true);
    let _ = stop.send(true);
    upkeep.abort();
    let _ = api.await;
    let again = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    drain(control, parts, again).await;
    let _ = gone.send(true);
    // Only what this daemon made: another one may have bound the name meanwhile.
    let _ = std::fs::remove_file(&settings.socket);
    Ok(())
}

async fn control_socket(
    socket: UnixListener,
    context: Rc<api::Context>,
    writers: Writers,
    stopped: watch::Receiver<bool>,
) {
    api::serve(socket, context, writers, ended(stopped)).await;
}

async fn ended(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and that is an end too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Ends the proxy: gracefully, or at once when `again` completes first.
async fn drain(control: Rc<RefCell<Control>>, parts: Parts, again: impl Future<Output = ()>) {
    // The control plane holds the other handle, and nobody edits any more.
    drop(control);
    let proxy = parts.proxy;
    let Ok(proxy) = Rc::try_unwrap(proxy.0) else { return };
    let proxy = proxy.into_inner();
    let cutter = proxy.cutter();
    let mut shutdown = tokio::task::spawn_blocking(move || proxy.shutdown(GRACE));
    tokio::select! {
        _ = &mut shutdown => {}
        () = again => {
            tracing::warn!("second signal: connections are cut");
            cutter.cut();
            // The runtime would wait for it in any case.
            let _ = shutdown.await;
        }
    }
}

/// Everything that is done from time to time.
async fn upkeep(control: Rc<RefCell<Control>>, parts: Parts, metrics: FilterMetrics) {
    let Parts { filter, addresses, dns, proxy, reach, liveness, defence } = parts;
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut upkeep = tokio::time::interval(UPKEEP);
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = poll.tick() => {
                filter.0.borrow_mut().poll();
                defence.poll();
                let now = clock::unix();
                let due = control.borrow().next_deadline().is_some_and(|deadline| deadline <= now);
                if due && let Err(refusal) = control.borrow_mut().tick(now) {
                    tracing::error!(%refusal, "a change that was due could not be made");
                }
            }
            _ = upkeep.tick() => {
                filter.0.borrow_mut().refresh();
                addresses.0.borrow_mut().refresh();
                dns.0.borrow_mut().retry();
                if let Err(refusal) = proxy.0.borrow_mut().retry() {
                    tracing::warn!(%refusal, "a waiting listener could not be bound");
                }
                defence.reconcile();
                let snapshot = control.borrow().snapshot();
                metrics.update(&filter, |listener| snapshot.channel(listener));
                reach.0.borrow_mut().tick(&snapshot, clock::now());
                liveness::look(&control.borrow().snapshot(), &liveness);
            }
        }
    }
}

// === settings → rooms ===

pub(super) fn filter_config(settings: &Settings) -> kernel::Config {
    kernel::Config {
        mode: match settings.filter {
            FilterMode::Required => kernel::FilterMode::Required,
            FilterMode::Auto => kernel::FilterMode::Auto,
            FilterMode::Off => kernel::FilterMode::Off,
        },
        pin_dir: settings.pin_dir.clone(),
        object: settings.filter_object.clone(),
    }
}

fn dns_config(settings: &Settings, liveness: &Liveness) -> dns::Config {
    let liveness = liveness.clone();
    dns::Config {
        public: settings.site.dns.clone(),
        rate: settings.dns_rate,
        dead: Arc::new(move |interface: &str, address| liveness.is_dead(interface, address)),
    }
}

fn proxy_config(settings: &Settings, barred: Barred, reports: Arc<Reports>) -> proxy::Config {
    proxy::Config {
        reports,
        workers: settings.workers.and_then(NonZeroUsize::new),
        access_log: match &settings.access_log {
            AccessLog::Stderr => Target::Stderr,
            AccessLog::File(path) => Target::File(path.clone()),
            AccessLog::Off => Target::Off,
        },
        default_certificate: Some(settings.state.join("default-certificate.pem")),
        unknown_sni: match settings.unknown_sni {
            UnknownSni::Default => proxy::UnknownSni::Default,
            UnknownSni::Reject => proxy::UnknownSni::Reject,
        },
        closed: match settings.closed_mode {
            ClosedMode::Drop => proxy::Closed::Silence,
            ClosedMode::Reset => proxy::Closed::Reset,
        },
        limits: settings.limits,
        memory: settings.memory,
        own_addresses: settings.admin.into_iter().collect(),
        barred,
        ..proxy::Config::default()
    }
}

// === directories, limits, and the first lines of the log ===

/// Raises the limit of open files as far as anybody may, and returns it: the soft limit of most systems is made for
/// programs that use select(2).
fn raise_descriptors() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "the limit of open files stays as it is");
            soft
        }
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The state directory: nobody else's business. One that exists is judged by the store.
fn private_directory(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the state directory {}", path.display()))?;
    }
    Ok(())
}

/// The socket's directory: readers may come in, the socket's own mode and peer credentials decide.
fn public_directory(path: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot make the control socket's directory {}", path.display());
    DirBuilder::new().recursive(true).create(path).with_context(context)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).with_context(context)
}

fn say_what_is_in_force(control: &Rc<RefCell<Control>>, parts: &Parts) {
    use crate::observe::filter::FilterSource as _;

    let control = control.borrow();
    let status = parts.filter.status();
    for interface in &status.interfaces {
        tracing::info!(
            interface = interface.interface,
            mode = interface.mode.name(),
            detail = interface.detail.as_deref().unwrap_or_default(),
            "filter"
        );
    }
    for warning in &status.warnings {
        tracing::warn!("{warning}");
    }
    for address in parts.addresses.0.borrow().status() {
        tracing::info!(
            interface = address.interface,
            address = address.address,
            state = address.state.name(),
            detail = address.detail.as_deref().unwrap_or_default(),
            "address"
        );
    }
    for listener in parts.proxy.0.borrow().listeners() {
        tracing::info!(
            listener = listener.name,
            state = listener.state,
            addresses = ?listener.addresses,
            error = listener.error.as_deref().unwrap_or_default(),
            "listener"
        );
    }
    let generation = control.generation().0;
    match control.failure() {
        None => tracing::info!(generation, filter = status.wanted, "ready"),
        Some(refusal) => {
            tracing::error!(generation, %refusal, "the configuration is not in force; it is tried again")
        }
    }
}
