//! The control plane's handle: every query and every change goes through it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use serde_json::Value;

use super::{
    Caller, Change, Config, Edit, FirstStart, Loss, Options, Outcome,
    access::{self, Judge},
    compile::compile,
    diff::diff,
    publish::{Failed, Publisher},
    query::{interface_of, item},
    state::{Context, Effect, State},
    store::{HistoryChange, HistoryLine, Pending, Saved, Store},
};
use crate::{
    base::{Generation, Refusal, Site, clock},
    observe::seen::SeenSource,
    resource::{Address, Allowlist, Exposure, Listener, gateway, name},
    snapshot::{Snapshot, Subscriber, filter::FilterTables},
};

/// How long a publication that failed waits for its next try.
const RETRY: Duration = Duration::from_secs(5);

/// The only writer of the configuration.
pub struct Control {
    own: Vec<SocketAddr>,
    pub(super) site: Site,
    pub(super) store: Store,
    pub(super) saved: Saved,
    /// What the enforcers were given last.
    pub(super) live: Arc<Snapshot>,
    pub(super) publisher: Publisher,
    /// Why enforcers or store are not at `saved`, and when that is tried to mend next.
    pub(super) failure: Option<(Refusal, Duration)>,
    /// A change of this number was taken back and that could not be written: the store is not at `saved`.
    unsaved: Option<Generation>,
    now: fn() -> Duration,
    /// Who uses the listeners; nobody is known without a data plane.
    seen: Option<Box<dyn SeenSource>>,
}

// === impl Control: changes ===

impl Control {
    /// Opens the state, publishes its generation to the subscribers and returns when they enforce it. A state that was
    /// there before starts also when they cannot: [`Self::failure`] says why, and [`Self::tick`] tries again.
    ///
    /// # Errors
    /// The state cannot be used: the refusal names file and cure.
    pub fn open(config: Config, subscribers: Vec<Box<dyn Subscriber>>) -> Result<Self, Refusal> {
        Self::open_at(config, subscribers, clock::unix)
    }

    /// As [`Self::open`], with a clock of the caller's.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_at(
        config: Config,
        subscribers: Vec<Box<dyn Subscriber>>,
        now: fn() -> Duration,
    ) -> Result<Self, Refusal> {
        let (store, saved) = Store::open(&config.state, config.owner)?;
        // Generation 0 is what a first start leaves that could not be put in force.
        let fresh = saved.as_ref().is_none_or(|saved| saved.generation == Generation(0));
        let mut control = Self {
            own: config.own,
            site: config.site,
            store,
            saved: saved.unwrap_or_default(),
            live: Arc::default(),
            publisher: Publisher::new(subscribers),
            failure: None,
            unsaved: None,
            now,
            seen: None,
        };
        if fresh {
            control.begin(config.first_start)?;
        } else if let Err(refusal) = control.restart() {
            tracing::error!(%refusal, generation = control.saved.generation.0, "the configuration is not in force");
        }
        Ok(control)
    }

    /// Puts the stored generation in force again. One that nobody confirmed in time, or whose monitoring is over, is undone
    /// instead, and never live.
    fn restart(&mut self) -> Result<(), Refusal> {
        let now = (self.now)();
        let late = self.saved.pending.as_ref().is_some_and(|pending| pending.until <= now.as_secs());
        if late || self.saved.state.next_monitor().is_some_and(|end| end <= now) {
            match self.tick(now) {
                Ok(()) if self.live.generation == self.saved.generation => return Ok(()),
                Ok(()) => {}
                Err(refusal) => {
                    tracing::error!(%refusal, "what ended while the daemon was away could not be undone")
                }
            }
        }
        self.republish()
    }

    /// Writes the first generation.
    fn begin(&mut self, first: FirstStart) -> Result<(), Refusal> {
        let mut state = State::default();
        if first == FirstStart::Local {
            self.with_context(|context| state.edit(Edit::ListenerAdd(local()?), context))?;
        }
        let generation = self.saved.last.next();
        let next = Arc::new(compile(&state, &self.site, generation, &self.live)?);
        let after = Saved { generation, last: generation, state, pending: None };
        self.advance(after, next, "first start".to_owned(), None)
    }

    /// Lets changes be judged by who uses the listeners.
    pub fn watch(&mut self, seen: Box<dyn SeenSource>) {
        self.seen = Some(seen);
    }

    /// Makes one change.
    ///
    /// # Errors
    /// The change is refused; nothing is different.
    pub fn edit(&mut self, edit: Edit, options: Options) -> Result<Outcome, Refusal> {
        let undoing = matches!(edit, Edit::Rollback { .. } | Edit::EndDrain { .. } | Edit::EndSilence { .. })
            || matches!(edit, Edit::EndMonitor { .. } | Edit::Monitor { wait: None, .. });
        if let Some(pending) = &self.saved.pending
            && !undoing
            && !options.dry_run
        {
            return Err(Refusal::new("confirm_pending", "an earlier change waits for its confirmation")
                .field("confirm_by", pending.until)
                .remedy(format_args!("confirm it, or `gateway rollback {}`", pending.back_to)));
        }
        if options.confirm.is_some() && matches!(edit, Edit::Monitor { .. }) {
            // No generation knows of it, so going back would not end it.
            return Err(Refusal::new("invalid", "monitoring ends by itself and is not confirmed")
                .field("confirm", "")
                .remedy("say how long with `--for`"));
        }
        let summary = edit.summary();
        // The end of a drain is not an undoing: what waits for a confirmation goes on waiting.
        let keep_pending =
            matches!(edit, Edit::EndDrain { .. } | Edit::EndSilence { .. } | Edit::EndMonitor { .. })
                || matches!(edit, Edit::Monitor { wait: None, .. });
        let undone = matches!(&edit, Edit::Rollback { generation, .. }
            if self.saved.pending.as_ref().is_some_and(|pending| pending.back_to == *generation));
        let mut state = self.saved.state.clone();
        let effect = self.with_context(|context| state.edit(edit, context))?;
        if self.saved.state.same(&state) {
            // What waits may have changed nothing that a generation keeps, like the end of a drain.
            if undone && !options.dry_run {
                self.stop_waiting()?;
            }
            return Ok(self.outcome(
                &self.saved.state,
                self.saved.generation,
                effect,
                Vec::new(),
                options.dry_run,
            ));
        }
        let changes = diff(&self.saved.state, &state);
        let generation = self.saved.last.next();
        let next = Arc::new(compile(&state, &self.site, generation, &self.live)?);
        if options.dry_run {
            self.publisher.rehearse(&next)?;
            let (loss, note) = self.loss(&next, options.caller.as_ref())?;
            let mut outcome = self.outcome(&state, self.saved.generation, effect, changes, true);
            outcome.notes.extend(note.map(|refusal| refusal.to_string()));
            outcome.loss = Some(loss);
            return Ok(outcome);
        }
        if options.caller.is_some()
            && !options.force
            && let (_, Some(refusal)) = self.loss(&next, options.caller.as_ref())?
        {
            return Err(refusal);
        }
        let pending = match options.confirm {
            Some(wait) => Some(self.pending(wait)),
            None => self.saved.pending.clone().filter(|_| keep_pending),
        };
        let after = Saved { generation, last: generation, state, pending };
        self.advance(after, next, summary, options.actor)?;
        Ok(self.outcome(&self.saved.state, generation, effect, changes, false))
    }

    /// The time since the Unix epoch.
    pub(super) fn now(&self) -> Duration {
        (self.now)()
    }

    fn pending(&self, wait: Duration) -> Pending {
        let materials = self.saved.state.certificates.values().filter_map(|record| record.material.as_ref());
        Pending {
            back_to: self.saved.generation,
            until: ((self.now)() + wait).as_secs(),
            keys: materials.map(|material| (material.key.fingerprint(), material.key.clone())).collect(),
        }
    }

    /// Whom `next` would keep out, and the refusal if its caller is among them.
    pub(super) fn loss(
        &self,
        next: &Snapshot,
        caller: Option<&Caller>,
    ) -> Result<(Loss, Option<Refusal>), Refusal> {
        if self.live.filter.listeners == next.filter.listeners {
            return Ok((Loss::default(), None));
        }
        let tables = |snapshot: &Snapshot| FilterTables::unresolved(&snapshot.filter);
        let (before, after) = (tables(&self.live)?, tables(next)?);
        let judge = Judge { before: &before, after: &after };
        let seen = self.seen.as_ref().map(|seen| seen.seen()).unwrap_or_default();
        let cut = caller.map_or(Vec::new(), |caller| {
            judge.caller(caller, interface_of(caller.server.ip()).as_deref(), &seen)
        });
        let refusal = (!cut.is_empty()).then(|| access::would_cut_caller(&cut));
        Ok((judge.lost(&seen), refusal))
    }

    /// Publishes and stores `after`, compiled as `next`, or leaves everything as it was.
    fn advance(
        &mut self,
        after: Saved,
        next: Arc<Snapshot>,
        summary: String,
        actor: Option<u32>,
    ) -> Result<(), Refusal> {
        let line = HistoryLine { time: (self.now)().as_secs(), actor, summary };
        let (store, saved) = (&mut self.store, &self.saved);
        let persist = || store.commit(saved, &after, HistoryChange::Add(&line));
        match self.publisher.publish(&next, &self.live, persist) {
            Ok(()) => {
                tracing::info!(
                    generation = after.generation.0,
                    actor,
                    summary = line.summary,
                    "configuration changed"
                );
                self.saved = after;
                self.live = next;
                self.failure = None;
                self.unsaved = None;
                Ok(())
            }
            Err(Failed::Before(refusal)) => Err(refusal),
            Err(Failed::Committing { refusal, back }) => {
                // The number was live in some enforcer for a moment; it is not used again.
                self.saved.last = after.last;
                let stored = self.store.commit(&after, &self.saved, HistoryChange::Remove(after.generation));
                self.unsaved = stored.is_err().then_some(after.generation);
                if let Some(worse) = stored.err().or(back.map(|back| *back)) {
                    self.fail(worse);
                }
                Err(refusal)
            }
        }
    }

    fn fail(&mut self, refusal: Refusal) {
        self.failure = Some((refusal, (self.now)() + RETRY));
    }

    /// Keeps the change that waits for a confirmation.
    ///
    /// # Errors
    /// None waits, or that cannot be written.
    pub fn confirm(&mut self) -> Result<Generation, Refusal> {
        if self.saved.pending.is_none() {
            return Err(Refusal::new("not_found", "no change waits for a confirmation")
                .remedy("it may have been undone; `gateway history` tells"));
        }
        self.stop_waiting()?;
        Ok(self.saved.generation)
    }

    fn stop_waiting(&mut self) -> Result<(), Refusal> {
        let after = Saved { pending: None, ..self.saved.clone() };
        self.store.commit(&self.saved, &after, HistoryChange::Keep)?;
        self.saved = after;
        Ok(())
    }

    /// Publishes the generation in force once more (an interface or address came or went, or it failed before).
    ///
    /// # Errors
    /// A subscriber could not enforce it.
    pub fn republish(&mut self) -> Result<(), Refusal> {
        let result =
            compile(&self.saved.state, &self.site, self.saved.generation, &self.live).and_then(|next| {
                let next = Arc::new(next);
                match self.publisher.publish(&next, &next, || Ok(())) {
                    Ok(()) => Ok(next),
                    Err(Failed::Before(refusal) | Failed::Committing { refusal, .. }) => Err(refusal),
                }
            });
        match result {
            Ok(next) => {
                self.live = next;
                self.failure = None;
                Ok(())
            }
            Err(refusal) => {
                self.fail(refusal.clone());
                Err(refusal)
            }
        }
    }

    /// When [`Self::tick`] has something to do next, as time since the Unix epoch.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let pending = self.saved.pending.as_ref().map(|pending| Duration::from_secs(pending.until));
        let retry = self.failure.as_ref().map(|(_, at)| *at);
        let first = [
            self.saved.state.next_drain(),
            self.saved.state.next_silence(),
            self.saved.state.next_monitor(),
            pending,
            retry,
        ]
        .into_iter()
        .flatten()
        .min();
        // While something fails, all waits for the next try: a deadline in the past would be a busy loop.
        retry.max(first)
    }

    /// Ends drains, undoes changes that were not confirmed in time, and tries again what failed.
    ///
    /// # Errors
    /// Something could not be done; it is tried again at the next deadline.
    pub fn tick(&mut self, now: Duration) -> Result<(), Refusal> {
        if let Some((_, at)) = &self.failure {
            if *at > now {
                return Ok(());
            }
            if let Some(undone) = self.unsaved {
                let written = self.store.commit(&self.saved, &self.saved, HistoryChange::Remove(undone));
                written.inspect_err(|refusal| self.fail(refusal.clone()))?;
                self.unsaved = None;
            }
            self.republish()?;
        }
        // One that is refused must not keep the others from ending: a monitored listener would stay open.
        let mut outcome = Ok(());
        let back_to = self.saved.pending.as_ref().filter(|pending| pending.until <= now.as_secs());
        if let Some(generation) = back_to.map(|pending| pending.back_to) {
            outcome = outcome.and(self.end(Edit::Rollback { generation, yes: true }));
        }
        let drains = self.saved.state.ended_drains(now);
        if !drains.is_empty() {
            outcome = outcome.and(self.end(Edit::EndDrain { drains }));
        }
        if self.saved.state.next_monitor().is_some_and(|end| end <= now) {
            outcome = outcome.and(self.end(Edit::EndMonitor { now }));
        }
        if self.saved.state.next_silence().is_some_and(|end| end <= now) {
            outcome = outcome.and(self.end(Edit::EndSilence { now }));
        }
        outcome.inspect_err(|refusal| self.fail(refusal.clone()))
    }

    fn end(&mut self, edit: Edit) -> Result<(), Refusal> {
        self.edit(edit, Options::default()).map(drop)
    }

    pub(super) fn with_context<T>(&self, work: impl FnOnce(&Context<'_>) -> T) -> T {
        let random = || {
            let mut bytes = [0; 32];
            SystemRandom::new()
                .fill(&mut bytes)
                .map_err(|_| Refusal::new("internal", "the system gives no random bytes"))?;
            Ok(bytes)
        };
        work(&Context {
            now: (self.now)(),
            own: &self.own,
            site: &self.site,
            random: &random,
            history: &|generation| self.store.document(generation),
            key: &|fingerprint| self.saved.pending.as_ref()?.keys.get(fingerprint).cloned(),
        })
    }

    fn outcome(
        &self,
        state: &State,
        generation: Generation,
        effect: Effect,
        diff: Vec<Change>,
        dry_run: bool,
    ) -> Outcome {
        Outcome {
            generation,
            changed: !diff.is_empty(),
            item: effect.item.map_or(Value::Null, |(kind, name)| item(state, &self.site, kind, &name)),
            // A token of a dry run was never made.
            tokens: if dry_run { Vec::new() } else { effect.tokens },
            confirm_by: self.saved.pending.as_ref().filter(|_| !dry_run).map(|pending| pending.until),
            diff,
            loss: None,
            notes: effect.notes,
        }
    }
}

/// The listener of a first start without root.
fn local() -> Result<Listener, Refusal> {
    Ok(Listener {
        name: name("name", "local")?,
        gateway: gateway::default_name(),
        exposure: Exposure::Public,
        interface: "lo".to_owned(),
        addresses: vec![Address::Ip(IpAddr::from([127, 0, 0, 1]))],
        http: Some(8080),
        https: Some(8443),
        open: true,
        wait_address: false,
        limits: crate::resource::Limits::default(),
        proxy_protocol: false,
        trusted_forwarders: Allowlist::default(),
        allow: Allowlist::parse("127.0.0.0/8")?,
    })
}
