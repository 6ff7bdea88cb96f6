//! A connection for a request, and another one when the first was of no use: instances are picked, connected to and told
//! how it went. The same for clients of either protocol.

use std::rc::Rc;

use super::judge::Forward;
use crate::proxy::{
    failure::Failure,
    upstream::{
        self, Lease, Missed, Pick, Tried,
        again::{Again, Attempt},
    },
    worker::{Worker, record::Record},
};

/// A connection that is open and unused; without one, [`wait`] is next.
pub(crate) fn ready(
    worker: &Rc<Worker>,
    forward: &Forward,
    record: &mut Record,
    tried: &Tried,
) -> Result<Option<Lease>, Failure> {
    let pick = match forward.target.pick(worker, forward.key, tried) {
        Ok(pick) => pick,
        Err(Missed::Nobody) => return Err(Failure::NoInstance),
        Err(Missed::Full) => return Ok(None),
    };
    let lease = pick.pool().take();
    record.instance(pick);
    Ok(lease)
}

/// Waits for what [`ready`] lacked: a new connection to the instance that it picked, or a place at any. Callers box it: it is
/// rare, and its state is larger than all the rest.
pub(crate) async fn wait(
    worker: &Rc<Worker>,
    forward: &Forward,
    record: &mut Record,
    tried: &mut Tried,
) -> Result<Lease, Failure> {
    let pick = match record.take_pick() {
        Some(pick) => pick,
        None => {
            let pick = forward.target.wait(worker, forward.key).await?;
            if let Some(lease) = pick.pool().take() {
                record.instance(pick);
                return Ok(lease);
            }
            pick
        }
    };
    connect(worker, forward, record, pick, tried).await
}

/// A new connection for `pick`; while nothing is sent, other instances are tried.
async fn connect(
    worker: &Rc<Worker>,
    forward: &Forward,
    record: &mut Record,
    mut pick: Pick,
    tried: &mut Tried,
) -> Result<Lease, Failure> {
    let target = &forward.target;
    let service = &target.view.service;
    loop {
        target.view.counters.worker(worker.id).connects.add(1);
        let failure = match upstream::connect(worker, pick.pool(), &service.timeouts).await {
            Ok(lease) => {
                record.instance(pick);
                return Ok(lease);
            }
            Err(failure) => failure,
        };
        record.instance(pick);
        record.failed(failure);
        record.note_tried(tried);
        let again = upstream::again::again(&Attempt {
            failure,
            sent: false,
            idempotent: false,
            retry_unsafe: forward.retry_unsafe,
            kept: true,
            reused: false,
            renewed: false,
            answered: false,
            made: tried.count(),
            most: service.upstream.retry.attempts,
        });
        if again == Again::No {
            return Err(failure);
        }
        pick = target.pick(worker, forward.key, tried).map_err(|_| failure)?;
        record.retried();
        if let Some(lease) = pick.pool().take() {
            record.instance(pick);
            return Ok(lease);
        }
    }
}

/// A connection for a request that is sent once more; `failure` is what it is answered with otherwise.
pub(crate) async fn resend(
    worker: &Rc<Worker>,
    forward: &Forward,
    record: &mut Record,
    failure: Failure,
    again: Again,
    tried: &mut Tried,
) -> Result<Lease, Failure> {
    record.failed(failure);
    let target = &forward.target;
    let pick = match again {
        Again::Renewed => record.take_pick().ok_or(failure)?,
        Again::Another { paid } if !paid || target.may_retry(worker) => {
            record.note_tried(tried);
            let next = target.pick(worker, forward.key, tried).map_err(|_| failure)?;
            if let Some(lease) = next.pool().take() {
                record.retried();
                record.instance(next);
                return Ok(lease);
            }
            next
        }
        Again::Another { .. } | Again::No => return Err(failure),
    };
    record.retried();
    connect(worker, forward, record, pick, tried).await
}
