//! Pure: monitoring, which lets what an allowlist would drop pass for a stated time.
//!
//! It belongs to the listener's record and not to what operators declare: a file that is applied, or a generation that
//! comes back, never begins it. Its end is a time, so a daemon that was away ends it at its start.

use std::{sync::Arc, time::Duration};

use super::{Effect, State};
use crate::{
    base::{Name, Refusal},
    resource::{Kind, duration},
};

/// Longest monitoring.
const MAX: Duration = Duration::from_secs(24 * 3600);

impl State {
    /// Begins to monitor a listener, or changes when that ends; without `wait` it ends at once.
    pub(super) fn monitor(
        &mut self,
        name: &Name,
        wait: Option<Duration>,
        now: Duration,
    ) -> Result<Effect, Refusal> {
        if let Some(wait) = wait
            && (wait > MAX || wait < Duration::from_secs(1))
        {
            return Err(Refusal::new("limit", "a listener is monitored for a while only")
                .field("for", duration::text(wait))
                .limit("1s to 24h")
                .remedy("give a time within that, and begin again when it is over"));
        }
        let record = self.listener_mut(name)?;
        let until = wait.map(|wait| (now + wait).as_millis().div_ceil(1000) as u64);
        if record.monitor != until {
            Arc::make_mut(record).monitor = until;
        }
        Ok(Effect::of(Kind::Listener, name))
    }

    /// Ends the monitoring whose time has come.
    pub(super) fn end_monitor(&mut self, now: Duration) -> Effect {
        for record in self.listeners.values_mut() {
            if record.monitor.is_some_and(|until| until <= now.as_secs()) {
                tracing::info!(listener = %record.listener.name, "monitoring ended: the allowlist drops again");
                Arc::make_mut(record).monitor = None;
            }
        }
        Effect::default()
    }

    /// When the first monitoring ends.
    #[must_use]
    pub fn next_monitor(&self) -> Option<Duration> {
        self.listeners.values().filter_map(|record| record.monitor).min().map(Duration::from_secs)
    }
}
