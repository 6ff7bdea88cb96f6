//! Drives the enforcers through a change: stage all, persist, commit all; or leave everything as it was.

use std::sync::Arc;

use crate::{
    base::Refusal,
    snapshot::{Snapshot, Subscriber},
};

/// The enforcers, in the order of safety (the filter first).
pub(super) struct Publisher {
    subscribers: Vec<Box<dyn Subscriber>>,
}

/// How far a publication that failed had come.
pub(super) enum Failed {
    /// Nothing was changed.
    Before(Refusal),
    /// A commit failed. Those before it are back at the previous snapshot, unless `back` says why not.
    Committing { refusal: Refusal, back: Option<Box<Refusal>> },
}

// === impl Publisher ===

impl Publisher {
    pub(super) const fn new(subscribers: Vec<Box<dyn Subscriber>>) -> Self {
        Self { subscribers }
    }

    pub(super) fn subscribers(&self) -> impl Iterator<Item = &dyn Subscriber> {
        self.subscribers.iter().map(|subscriber| &**subscriber)
    }

    /// Stages and forgets: whether the snapshot could be enforced.
    pub(super) fn rehearse(&mut self, next: &Arc<Snapshot>) -> Result<(), Refusal> {
        self.stage(next)?;
        self.abandon(0);
        Ok(())
    }

    /// Makes `next` live everywhere, with `persist` between staging and committing.
    pub(super) fn publish(
        &mut self,
        next: &Arc<Snapshot>,
        previous: &Arc<Snapshot>,
        persist: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), Failed> {
        self.stage(next).map_err(Failed::Before)?;
        if let Err(refusal) = persist() {
            self.abandon(0);
            return Err(Failed::Before(refusal));
        }
        for subscriber in &mut self.subscribers {
            subscriber.hush();
        }
        for place in 0..self.subscribers.len() {
            let Some(subscriber) = self.subscribers.get_mut(place) else { break };
            if let Err(refusal) = subscriber.commit() {
                tracing::error!(enforcer = subscriber.name(), generation = next.generation.0, %refusal, "commit failed");
                self.abandon(place + 1);
                let back = self.revert(place, previous);
                return Err(Failed::Committing { refusal, back });
            }
        }
        Ok(())
    }

    fn stage(&mut self, next: &Arc<Snapshot>) -> Result<(), Refusal> {
        for place in 0..self.subscribers.len() {
            let Some(subscriber) = self.subscribers.get_mut(place) else { break };
            if let Err(refusal) = subscriber.stage(next) {
                for earlier in self.subscribers.iter_mut().take(place).rev() {
                    earlier.abandon();
                }
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn abandon(&mut self, from: usize) {
        for subscriber in self.subscribers.iter_mut().skip(from).rev() {
            subscriber.abandon();
        }
    }

    /// Brings the first `count` subscribers, which have committed, back to `previous`. All are tried.
    fn revert(&mut self, count: usize, previous: &Arc<Snapshot>) -> Option<Box<Refusal>> {
        let mut failure = None;
        for subscriber in self.subscribers.iter_mut().take(count) {
            if let Err(refusal) = subscriber.stage(previous).and_then(|()| subscriber.commit()) {
                tracing::error!(enforcer = subscriber.name(), generation = previous.generation.0, %refusal, "cannot go back");
                failure = Some(Box::new(refusal));
            }
        }
        failure
    }
}
