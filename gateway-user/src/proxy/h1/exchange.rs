//! One request over HTTP/1.1 to an instance that speaks it too: both directions in the client's own task, no channel
//! and no second task between them.
//!
//! Both halves go on at the same time: an instance may answer before it has the whole request. Whoever leaves first
//! ends the exchange: when the client goes, the instance's connection is dropped at once.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    clock::{Awaits, Clock},
    download::{Download, End, Shared, Wanted},
    over_h2,
    tunnel::Tunnel,
    upload::{Stopped, Upload},
};
use crate::proxy::{
    failure::Failure,
    http::{coded::Decompression, judge::Forward, lease},
    io::{Block, Stream},
    listener::live::Conn,
    upstream::{
        self, Answer, Lease, Sender, Tried,
        again::{Again, Attempt},
    },
    worker::{Worker, record::Record, timer::Late},
};

/// How long one side of a tunnel may take to end once the other has broken off.
const LINGER: Duration = Duration::from_secs(2);

/// A client's connection: what of it stays from one request to the next.
pub(super) struct Client<'c> {
    pub(super) worker: &'c Rc<Worker>,
    pub(super) conn: &'c Rc<Conn>,
    pub(super) stream: &'c mut Stream,
    /// What the client sent and nobody took.
    pub(super) inbox: Option<Block>,
}

/// A request that was judged.
pub(super) struct Plan {
    pub(super) forward: Forward,
    /// The head as the instance gets it.
    pub(super) head: Vec<u8>,
    pub(super) wanted: Wanted,
    /// Sending it twice does what sending it once does (RFC 9110 §9.2.2).
    pub(super) idempotent: bool,
    pub(super) decompression: Option<Box<Decompression>>,
}

/// How an exchange ended.
pub(super) enum Outcome {
    /// The answer is with the client. `read`: nothing of the request is left; `keep_alive`: the connection goes on.
    Answered { read: bool, keep_alive: bool },
    /// Nothing of an answer is with the client, and this is the reason.
    Refused { failure: Failure, read: bool },
    /// The connection is of no use any more.
    Gone,
}

// === impl Client ===

impl Client<'_> {
    /// Runs the exchange to its end. The plan stays with the caller: what is handed over by value is kept twice.
    pub(super) async fn exchange(&mut self, plan: &mut Plan, record: &mut Record) -> Outcome {
        let mut tried = Tried::default();
        // One variable to the end: what is moved into another while the exchange can wait is kept twice.
        let mut lease = match lease::ready(self.worker, &plan.forward, record, &tried) {
            Ok(lease) => lease,
            Err(failure) => return Outcome::Refused { failure, read: plan.forward.body.is_empty() },
        };
        if lease.is_none() {
            match self.wait(&plan.forward, record, &mut tried).await {
                Ok(fresh) => lease = Some(fresh),
                Err(Failure::ClientGone) => return Outcome::Gone,
                Err(failure) => return Outcome::Refused { failure, read: plan.forward.body.is_empty() },
            }
        }
        let mut halves = self.halves(plan, lease.as_ref().is_some_and(|lease| lease.reused));
        let mut renewed = false;
        let end = loop {
            let forward = &plan.forward;
            let failure = match lease.as_mut().and_then(Lease::sender) {
                Some(Sender::One(instance)) => {
                    match poll_fn(|context| self.poll(context, &mut halves, instance, forward, record)).await
                    {
                        Ok(end) => break Ok(end),
                        Err(failure) => failure,
                    }
                }
                Some(Sender::Many(_)) | None => Failure::Reset,
            };
            let again = upstream::again::again(&Attempt {
                failure,
                sent: halves.upload.began(),
                idempotent: plan.idempotent,
                retry_unsafe: plan.forward.retry_unsafe,
                kept: halves.upload.can_again(),
                reused: lease.as_ref().is_some_and(|lease| lease.reused),
                renewed,
                answered: halves.download.began(),
                made: tried.count() + 1,
                most: plan.forward.target.view.service.upstream.retry.attempts,
            });
            if again == Again::No {
                // An answer that broke off is told once, below.
                if halves.download.status().is_none() {
                    record.failed(failure);
                }
                break Err(failure);
            }
            renewed |= again == Again::Renewed;
            halves.again(&mut self.inbox);
            let next =
                Box::pin(lease::resend(self.worker, &plan.forward, record, failure, again, &mut tried));
            match self.watched(next).await {
                Ok(fresh) => lease = Some(fresh),
                Err(failure) => break Err(failure),
            }
        };
        let Halves { upload, download, answer, .. } = &mut halves;
        record.bytes_in = upload.passed();
        record.bytes_out = download.passed();
        let (read, keep_alive) = (upload.is_read(), download.keeps_alive());
        let outcome = match end {
            Ok(End::Whole) => {
                record.completed();
                let reusable = download.is_reusable() && upload.is_done() && answer.is_clean();
                if let Some(lease) = lease.filter(|_| reusable) {
                    lease.done(self.worker.timers.tick(), self.worker.shared.config.limits.upstream_spare);
                }
                Outcome::Answered { read, keep_alive: keep_alive && read }
            }
            Ok(End::Tunnel) => {
                let said = answer.inbox.take();
                Box::pin(self.tunnel(lease, said, plan.forward.target.view.service.timeouts.idle, record))
                    .await;
                Outcome::Gone
            }
            // Left to the record: a request that nobody completed was left by its client.
            Err(Failure::ClientGone) => Outcome::Gone,
            Err(failure) if download.status().is_some() => {
                record.broken(failure);
                Outcome::Gone
            }
            Err(failure) => Outcome::Refused { failure, read },
        };
        halves.recycle(self.worker);
        outcome
    }

    /// Both directions of an exchange that begins; `reused`: the instance's connection served a request before.
    fn halves(&self, plan: &mut Plan, reused: bool) -> Halves {
        let copy = over_h2::copy(self.worker, plan);
        let (head, decompression) = (std::mem::take(&mut plan.head), plan.decompression.take());
        let Plan { forward, wanted, idempotent, .. } = plan;
        let service = &forward.target.view.service;
        let others = service.upstream.retry.attempts > 1 && forward.target.view.fleet.members.len() > 1;
        let keep = (*idempotent || forward.retry_unsafe) && (others || reused);
        Halves {
            upload: Upload::new(head, forward.body, service.body_limit, keep, decompression, copy),
            download: Download::new(*wanted, self.worker.buffer()),
            answer: Answer::default(),
            clock: Clock::new(self.worker, forward, wanted.expect),
        }
    }

    /// One step of both directions.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        halves: &mut Halves,
        instance: &mut upstream::Stream,
        forward: &Forward,
        record: &mut Record,
    ) -> Poll<Result<End, Failure>> {
        let before = (halves.upload.passed(), halves.download.passed());
        let mut sending = !halves.upload.is_done();
        if sending {
            match halves.upload.poll(context, self.stream, &mut self.inbox, instance) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => sending = false,
                Poll::Ready(Err(Stopped::Client(failure))) => return Poll::Ready(Err(failure)),
                // It may have answered before it closed.
                Poll::Ready(Err(Stopped::Instance)) => sending = false,
            }
        }
        let date = self.worker.date();
        let download = &mut halves.download;
        if self.conn.draining.get() {
            download.close();
        }
        let shared =
            Shared { worker: self.worker, offered: &forward.target.view.service.compression, date: &date };
        let polled = download.poll(context, self.stream, instance, &mut halves.answer, &shared);
        if let Some(status) = download.status().filter(|_| !record.is_answered()) {
            record.answered(status);
            if let Poll::Ready(Ok(End::Whole)) = polled {
                record.at_once();
            }
        }
        if let Poll::Ready(result) = polled {
            return Poll::Ready(result);
        }
        if !sending && let Poll::Ready(failure) = self.poll_gone(context) {
            return Poll::Ready(Err(failure));
        }
        let (up, down) = (halves.upload.passed() - before.0, halves.download.passed() - before.1);
        // An instance that the client keeps waiting is not the one who is silent.
        let taken = self.stream.is_sent();
        if let Poll::Ready(failure) = halves.poll_instance(context, forward, (sending, taken), up + down > 0)
        {
            return Poll::Ready(Err(failure));
        }
        self.poll_client(context, halves, forward, (up, down))
    }

    /// Ready when the client takes too long for its body.
    fn poll_client(
        &mut self,
        context: &mut Context<'_>,
        halves: &mut Halves,
        forward: &Forward,
        (arrived, answered): (u64, u64),
    ) -> Poll<Result<End, Failure>> {
        let Some(patience) = &mut halves.clock.client else { return Poll::Pending };
        let tick = self.worker.timers.tick();
        if arrived > 0 {
            patience.arrived(arrived, tick);
            halves.download.wanted.expect = false;
        }
        if halves.download.wanted.expect && patience.poll(context).is_ready() {
            halves.download.wanted.expect = false;
            if self.stream.send(context, b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
        }
        if halves.download.wanted.expect {
            return Poll::Pending;
        }
        if !halves.upload.is_waiting() {
            patience.rest();
            return Poll::Pending;
        }
        // It listens while the instance talks.
        if answered > 0 {
            patience.listens();
        }
        let idle = forward.target.view.service.timeouts.idle;
        patience.wait(halves.download.status().map(|_| idle), tick);
        patience.poll(context).map(|Late| Err(Failure::ClientTimeout))
    }

    /// Ready when the client is gone. What it sends ahead is kept, up to a block.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Failure> {
        loop {
            if let Some(block) = self.inbox.as_mut() {
                block.make_room();
                if block.room() == 0 {
                    return Poll::Pending;
                }
            }
            match self.stream.poll_inbox(context, &mut self.inbox) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Failure::ClientGone),
            }
        }
    }

    /// Runs a future while the client is there.
    pub(super) fn watched<'w, T: 'w>(
        &'w mut self,
        mut future: Pin<Box<dyn Future<Output = Result<T, Failure>> + 'w>>,
    ) -> impl Future<Output = Result<T, Failure>> + 'w {
        poll_fn(move |context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            self.poll_gone(context).map(Err)
        })
    }

    /// A connection to an instance: one that is open, else a new one.
    pub(super) async fn lease(
        &mut self,
        forward: &Forward,
        record: &mut Record,
        tried: &mut Tried,
    ) -> Result<Lease, Failure> {
        match lease::ready(self.worker, forward, record, tried)? {
            Some(lease) => Ok(lease),
            None => self.wait(forward, record, tried).await,
        }
    }

    /// A connection that was not at hand.
    fn wait<'w>(
        &'w mut self,
        forward: &'w Forward,
        record: &'w mut Record,
        tried: &'w mut Tried,
    ) -> impl Future<Output = Result<Lease, Failure>> + 'w {
        let next = Box::pin(lease::wait(self.worker, forward, record, tried));
        self.watched(next)
    }

    /// Bytes both ways after a 101.
    async fn tunnel(
        &mut self,
        mut lease: Option<Lease>,
        said: Option<Block>,
        idle: Duration,
        record: &mut Record,
    ) {
        let Some(Sender::One(instance)) = lease.as_mut().and_then(Lease::sender) else { return };
        let mut tunnel = Tunnel::new(self.inbox.take(), said, &self.worker.blocks);
        let deadline = self.worker.timers.deadline(idle);
        let (mut passed, mut lingers) = ((0, 0), false);
        let ended = poll_fn(|context| {
            if let Poll::Ready(result) = tunnel.poll(context, self.stream, instance) {
                return Poll::Ready(Some(result));
            }
            let now = (tunnel.passed_up, tunnel.passed_down);
            if tunnel.lingers {
                if !std::mem::replace(&mut lingers, true) {
                    deadline.arm(LINGER);
                }
            } else if now != passed {
                passed = now;
                deadline.arm(idle);
            }
            deadline.poll(context).map(|_| None)
        })
        .await;
        (record.bytes_in, record.bytes_out) = (tunnel.passed_up, tunnel.passed_down);
        match ended {
            // One side's error is the end, like any other.
            Some(_) => record.completed(),
            None if lingers => record.completed(),
            None => record.broken(Failure::Idle),
        }
    }
}

// === impl Halves ===

/// Both directions of an exchange, as far as they are.
struct Halves {
    upload: Upload,
    download: Download,
    answer: Answer,
    clock: Clock,
}

impl Halves {
    /// Begins anew, for another connection.
    fn again(&mut self, inbox: &mut Option<Block>) {
        self.upload.again(inbox);
        self.answer = Answer::default();
        self.clock.disarm();
    }

    /// Gives the buffers back.
    fn recycle(self, worker: &Worker) {
        worker.recycle(self.download.into_buffer());
        worker.recycle(self.upload.into_buffer());
    }

    /// Ready when the instance takes too long. It has its time to take more of the request, from the request's end on
    /// for the head of the answer, and for each piece of it.
    fn poll_instance(
        &mut self,
        context: &mut Context<'_>,
        forward: &Forward,
        (sending, taken): (bool, bool),
        moved: bool,
    ) -> Poll<Failure> {
        let timeouts = &forward.target.view.service.timeouts;
        let awaits = match (self.download.is_waiting(), self.download.status()) {
            (true, None) if !sending => Awaits::FirstByte,
            (true, None) if !self.upload.is_waiting() => Awaits::Taking,
            (true, Some(_)) if taken => Awaits::More,
            (true, _) | (false, _) => Awaits::Nothing,
        };
        self.clock.poll_instance(context, awaits, moved, timeouts)
    }
}
