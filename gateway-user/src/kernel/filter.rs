//! The filter as the rest of the daemon sees it: a subscriber of snapshots, a source of reports, a few upkeep calls.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Config, FilterMode,
    apply::{Kernel, Staged},
    counters,
    events::{self, DropLog, Names},
    explain::Explainer,
    load::refuse_map,
    netlink::{self, Link},
};
use crate::{
    base::{Generation, Name, Refusal, clock},
    defence::{Ban, Enforcer, Source},
    observe::{
        filter::{DropRecord, FilterReport, FilterSource, FilterStatus, InterfaceStatus, Mode},
        top::TopRow,
    },
    snapshot::{Barred, FilterPlan, Snapshot, Subscriber, filter::Explanation},
};

/// The kernel filter of this daemon.
///
/// Numbers in the kernel tables are the low 32 bits of the generation. Where that number is live already (the same
/// generation is written again after a restart, or because an interface came back) its highest bit is flipped, so
/// that live rows are never written to.
pub struct Filter {
    config: Config,
    /// `None`: off, or (in the mode `auto`) not possible here.
    kernel: Option<Kernel>,
    /// Why there is no kernel filter in the mode `auto`.
    unavailable: Option<Refusal>,
    current: Option<Arc<FilterPlan>>,
    staged: Option<Staged>,
    /// Numbers in the kernel tables and their generations: the live one and the one before.
    numbers: Vec<(u32, Generation)>,
    interfaces: Vec<InterfaceStatus>,
    /// Where nothing may be bound by the policy in force.
    unbindable: BTreeMap<String, Refusal>,
    /// The same of the staged policy while there is one, for the proxy.
    barred: Barred,
    drops: DropLog,
    /// While an interface cannot be guarded again: when to try next, and the pause after that.
    retry: Option<(Instant, Duration)>,
    explainer: RefCell<Explainer>,
}

/// First and longest pause between attempts to guard an interface again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

impl Filter {
    /// Takes the pin directory's lock and finds what an earlier daemon left. Changes nothing that filters.
    ///
    /// # Errors
    /// In the mode `required`: what the filter needs is not there. In every mode: another daemon holds the filter.
    pub fn open(config: Config) -> Result<Self, Refusal> {
        let opened = match config.mode {
            FilterMode::Off => Kernel::open_existing(&config),
            FilterMode::Auto | FilterMode::Required => Kernel::open(&config).map(Some),
        };
        let (kernel, unavailable) = match opened {
            Ok(kernel) => (kernel, None),
            Err(refusal) if config.mode == FilterMode::Required || refusal.code == "filter_in_use" => {
                return Err(refusal);
            }
            Err(refusal) if config.mode == FilterMode::Off => {
                tracing::warn!(%refusal, "what an earlier run may have pinned is left as it is");
                (None, None)
            }
            Err(refusal) => {
                tracing::warn!(%refusal, "no kernel filter: connections are checked at accept only");
                (None, Some(refusal))
            }
        };
        Ok(Self {
            config,
            kernel,
            unavailable,
            current: None,
            staged: None,
            numbers: Vec::new(),
            interfaces: Vec::new(),
            unbindable: BTreeMap::new(),
            barred: Barred::default(),
            drops: DropLog::default(),
            retry: None,
            explainer: RefCell::default(),
        })
    }

    /// On which interfaces nothing may be bound, as the staged policy has it, or the one in force.
    #[must_use]
    pub fn barred(&self) -> Barred {
        self.barred.clone()
    }

    /// Gives the pins to the user that the daemon is about to become.
    ///
    /// # Errors
    /// Not permitted.
    pub fn give(&self, uid: u32, gid: u32) -> Result<(), Refusal> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        kernel.pins.give(uid, gid).map_err(|error| {
            Refusal::new("pin_dir", format_args!("the pins cannot be given to user {uid}: {error}"))
                .field("pin_dir", kernel.pins.directory().display())
        })
    }

    /// Reads sampled drops and adapts the sample. Call it every 100 ms.
    pub fn poll(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let devices: Vec<(u32, String)> = kernel
            .attachments
            .iter()
            .map(|attachment| (attachment.ifindex, attachment.device.clone()))
            .collect();
        let Some(tables) = &mut kernel.tables else { return };
        let names = Names { generations: &self.numbers, plan: self.current.as_deref(), devices: &devices };
        let events = self.drops.drain(tables, &names, clock::unix());
        if let Err(error) = events::adapt(tables, events) {
            tracing::debug!(%error, "the sample of drop events was not adapted");
        }
    }

    /// Looks whether interfaces came, went or lost their program, and puts the filter back where it belongs. Call it
    /// on link events, or every few seconds. Returns whether anything changed.
    pub fn refresh(&mut self) -> bool {
        if self.staged.is_some() {
            return false;
        }
        let Some(plan) = self.current.clone() else { return false };
        let links = match netlink::links() {
            Ok(links) => links,
            Err(error) => {
                tracing::warn!(%error, "interfaces cannot be read");
                return false;
            }
        };
        let Some(kernel) = self.kernel.as_mut().filter(|_| self.config.mode != FilterMode::Off) else {
            return false;
        };
        let (lost, moved) = kernel.drift(&links);
        for status in self.interfaces.iter_mut().filter(|status| lost.contains(&status.interface)) {
            if matches!(status.mode, Mode::Native | Mode::Tcx) {
                tracing::error!(interface = status.interface, "the filter's interface or program is gone");
                status.mode = Mode::Detached;
                status.detail = Some("the interface or its program is gone".to_owned());
                if self.config.mode == FilterMode::Required {
                    let refusal = Refusal::new("filter_attach", "the filter's interface or program is gone")
                        .field("interface", &status.interface);
                    self.unbindable.insert(status.interface.clone(), refusal);
                }
            }
        }
        self.barred.set(self.unbindable.clone());
        if !moved || self.retry.is_some_and(|(due, _)| clock::now() < due) {
            return !lost.is_empty();
        }
        match self.prepare(&plan, &links).and_then(|()| self.commit()) {
            Ok(()) => tracing::info!("the filter follows a change of interfaces"),
            Err(refusal) => {
                self.abandon();
                tracing::error!(%refusal, "the filter could not follow a change of interfaces");
            }
        }
        let failed =
            self.interfaces.iter().any(|status| status.mode == Mode::Detached && status.ifindex != 0);
        let pause = self.retry.map_or(RETRY.0, |(_, pause)| (pause * 2).min(RETRY.1));
        self.retry = failed.then(|| (clock::now() + pause, pause));
        true
    }

    fn prepare(&mut self, plan: &Arc<FilterPlan>, links: &[Link]) -> Result<(), Refusal> {
        if self.config.mode != FilterMode::Off && self.kernel.as_mut().is_some_and(Kernel::drop_unpinned) {
            self.explainer.take();
        }
        if self.config.mode == FilterMode::Auto
            && let Some(Err(refusal)) = self.kernel.as_mut().map(Kernel::open_tables)
        {
            tracing::warn!(%refusal, "no kernel filter: connections are checked at accept only");
            self.unavailable = Some(refusal);
            self.kernel = None;
        }
        let before = self.current.as_deref();
        self.staged = Some(match (&mut self.kernel, self.config.mode) {
            (Some(kernel), FilterMode::Required | FilterMode::Auto) => {
                kernel.stage(plan, before, links, self.config.mode == FilterMode::Required)?
            }
            _ => Staged::without_kernel(plan, before, links, self.unavailable.as_ref())?,
        });
        self.barred.set(self.staged.as_ref().map(|staged| staged.barred.clone()).unwrap_or_default());
        Ok(())
    }
}

// === impl Subscriber ===

impl Subscriber for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn stage(&mut self, next: &Arc<Snapshot>) -> Result<(), Refusal> {
        self.abandon();
        let links = netlink::links().map_err(|error| {
            Refusal::new("interfaces", format_args!("the network interfaces cannot be read: {error}"))
        })?;
        self.prepare(&next.filter, &links)
    }

    fn commit(&mut self) -> Result<(), Refusal> {
        let Some(mut staged) = self.staged.take() else { return Ok(()) };
        if let Some(kernel) = &mut self.kernel {
            match self.config.mode {
                FilterMode::Off => {
                    self.explainer.take();
                    kernel.clear();
                }
                FilterMode::Required | FilterMode::Auto => {
                    kernel.commit(&mut staged).inspect_err(|_| self.barred.set(self.unbindable.clone()))?;
                }
            }
        }
        self.numbers.insert(0, (staged.number, staged.plan.generation));
        self.numbers.truncate(2);
        self.interfaces = staged.interfaces;
        self.unbindable = staged.barred;
        self.current = Some(staged.plan);
        Ok(())
    }

    fn abandon(&mut self) {
        let Some(staged) = self.staged.take() else { return };
        if let Some(kernel) = &mut self.kernel {
            kernel.abandon(&staged);
        }
        self.barred.set(self.unbindable.clone());
    }

    fn generation(&self) -> Generation {
        self.current.as_ref().map_or(Generation::default(), |plan| plan.generation)
    }
}

// === impl FilterSource ===

impl FilterSource for Filter {
    fn report(&self) -> FilterReport {
        let plan = self.current.as_deref();
        let tables = self.kernel.as_ref().and_then(|kernel| kernel.tables.as_ref());
        match (tables, plan) {
            (Some(tables), Some(plan)) => counters::report(tables, plan).unwrap_or_else(|error| {
                tracing::warn!(%error, "the filter's counters cannot be read");
                counters::empty(Some(plan))
            }),
            _ => counters::empty(plan),
        }
    }

    fn status(&self) -> FilterStatus {
        let mut warnings: Vec<String> = self.unavailable.iter().map(ToString::to_string).collect();
        warnings.extend(
            self.interfaces
                .iter()
                .filter(|status| status.mode != Mode::Tcx)
                .filter_map(|status| Some(format!("{}: {}", status.interface, status.detail.as_ref()?))),
        );
        warnings.extend(self.kernel.iter().flat_map(Kernel::overtaken));
        FilterStatus {
            wanted: self.config.mode.name(),
            generation: self.generation(),
            interfaces: self.interfaces.clone(),
            warnings,
        }
    }

    fn drops(&self, after: u64) -> Vec<DropRecord> {
        self.drops.after(after)
    }

    fn top(
        &self,
        window: Duration,
        limit: usize,
        wanted: &dyn Fn(Option<&Name>, &str) -> bool,
    ) -> Vec<TopRow> {
        self.drops.top().rows(clock::unix(), window, limit, wanted)
    }

    fn judge(
        &self,
        interface: &str,
        vlan: Option<u16>,
        source: IpAddr,
        destination: SocketAddr,
    ) -> Option<Explanation> {
        let (kernel, plan) = (self.kernel.as_ref()?, self.current.as_deref()?);
        let place = self.interfaces.iter().find(|status| status.interface == interface)?;
        // A program on the device is what makes it the kernel's verdict.
        let judges = kernel.attachments.iter().any(|attachment| attachment.ifindex == place.ifindex);
        kernel.tables.as_ref().filter(|_| judges)?;
        let object = kernel.object.as_ref()?;
        let mut explainer = self.explainer.borrow_mut();
        match explainer.judge(
            object,
            &kernel.pins,
            (place.ifindex, vlan.unwrap_or(place.vlan)),
            source,
            destination,
        ) {
            Ok(verdict) => Some(Explanation::of(plan, verdict, source, Some(interface))),
            Err(refusal) => {
                tracing::warn!(%refusal, interface, "the kernel does not explain its verdict");
                None
            }
        }
    }
}

// === impl Enforcer ===

impl Enforcer for Filter {
    fn bans(&self) -> Vec<Ban> {
        let tables = self.kernel.as_ref().and_then(|kernel| kernel.tables.as_ref());
        tables.map(|tables| tables.guard.bans()).unwrap_or_default()
    }

    fn ban(&mut self, ban: &Ban) -> Result<(), Refusal> {
        match self.kernel.as_mut().and_then(|kernel| kernel.tables.as_mut()) {
            Some(tables) => tables.guard.ban(ban).map_err(|error| refuse_map("written", &error)),
            // The check at accept enforces it alone.
            None => Ok(()),
        }
    }

    fn lift(&mut self, source: Source) -> Result<(), Refusal> {
        match self.kernel.as_mut().and_then(|kernel| kernel.tables.as_mut()) {
            Some(tables) => tables.guard.lift(source).map_err(|error| refuse_map("written", &error)),
            None => Ok(()),
        }
    }
}
