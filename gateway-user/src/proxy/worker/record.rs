//! What is noted of one request, from its head to the last byte: counters and the access log line.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderValue;

use super::{Worker, target::Target, timer::Timers};
use crate::{
    base::clock,
    defence::Offence,
    observe::{
        access,
        load::Full,
        traffic::{bucket, class},
    },
    proxy::{
        budget::Grant,
        failure::Failure,
        http::body::Progress,
        listener::live::{Conn, Phase},
        route::PREDICT,
        upstream::{Pick, Tried},
    },
};

/// 101.
const SWITCHING: u16 = 101;

/// One request's record. It is written when it is dropped; one that nobody completed was left by its client (499).
pub(crate) struct Record {
    worker: Rc<Worker>,
    conn: Rc<Conn>,
    start: Instant,
    pub(crate) id: RequestId,
    line: Vec<u8>,
    /// The TCP peer speaks for another.
    relayed: bool,
    target: Option<Rc<Target>>,
    /// The place at the instance, and whom to tell how it went.
    pick: Option<Pick>,
    /// Times that it was sent once more.
    retries: u8,
    status: u16,
    reason: &'static str,
    complete: bool,
    /// How far the request's body is; `None`: it has none.
    pub(crate) progress: Option<Rc<Progress>>,
    /// Bytes of the request's body, where nothing else counts them.
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    first_byte: u64,
    /// µs to the last byte, where that is known; else 0, and the clock is asked at the end.
    lasted: u64,
    /// The memory that the request may hold, until its last byte is through.
    grant: Option<Grant>,
}

/// 32 hexadecimal digits.
#[derive(Clone, Copy)]
pub(crate) struct RequestId([u8; 32]);

/// What the log wants of the head.
pub(crate) struct Asked<'a> {
    /// The client that trusted forwarders name, if it is not who speaks to us.
    pub(crate) client: Option<IpAddr>,
    /// A trusted forwarder made the request.
    pub(crate) forwarded: bool,
    pub(crate) generation: u64,
    pub(crate) listener: &'a str,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
}

impl RequestId {
    fn new(prefix: u64, turn: u64) -> Self {
        let mut text = [0; 32];
        let value = (u128::from(prefix) << 64) | u128::from(turn);
        // Without a branch or a table: that is done for many digits at a time.
        let digit = |half: u8| b'0' + half + u8::from(half > 9) * (b'a' - b'0' - 10);
        for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(value.to_be_bytes()) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
        Self(text)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static(""))
    }
}

impl Record {
    /// Opens the record of a request whose head arrived at `start`.
    pub(crate) fn open(worker: &Rc<Worker>, conn: &Rc<Conn>, start: Instant, turn: u64) -> Self {
        conn.in_flight.set(conn.in_flight.get() + 1);
        conn.enter(Phase::Busy, 0);
        Self {
            worker: Rc::clone(worker),
            conn: Rc::clone(conn),
            start,
            id: RequestId::new(worker.prefix, turn),
            line: Vec::new(),
            relayed: conn.client.borrow().declared,
            target: None,
            pick: None,
            retries: 0,
            status: Failure::ClientGone.status(),
            reason: Failure::ClientGone.name(),
            complete: false,
            progress: None,
            bytes_in: 0,
            bytes_out: 0,
            first_byte: 0,
            lasted: 0,
            grant: None,
        }
    }

    /// Nanoseconds from the origin of the clock that all workers share to the request.
    pub(crate) fn moment(&self) -> u64 {
        u64::try_from(self.since().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the request came, since the Unix epoch.
    fn at(&self) -> Duration {
        self.worker.epoch.get() + self.since()
    }

    /// The same since the origin of the clock that all workers share.
    fn since(&self) -> Duration {
        self.start.saturating_duration_since(self.worker.shared.base)
    }

    /// Notes the head. The text is copied now, because the head moves on to the instance.
    pub(crate) fn asked(&mut self, asked: &Asked<'_>) {
        self.relayed |= asked.forwarded;
        if !self.worker.log.borrow().enabled() {
            return;
        }
        let mut line = self.worker.buffer();
        line.extend_from_slice(b"{\"time\":\"");
        self.worker.stamps.borrow_mut().time(&mut line, self.at());
        line.extend_from_slice(b"\",\"request_id\":\"");
        line.extend_from_slice(&self.id.0);
        line.extend_from_slice(b"\",\"generation\":");
        access::number(&mut line, asked.generation);
        line.extend_from_slice(b",\"listener\":");
        quoted(&mut line, asked.listener.as_bytes());
        line.extend_from_slice(b",\"client\":\"");
        let client = self.conn.client.borrow();
        match asked.client {
            Some(address) => line.extend_from_slice(address.to_string().as_bytes()),
            None => line.extend_from_slice(client.text.as_bytes()),
        }
        line.push(b'"');
        // Who forwards a request knows the client's address, but mostly not its port.
        if asked.client.is_none() {
            line.extend_from_slice(b",\"client_port\":");
            access::number(&mut line, u64::from(client.address.port()));
        }
        // Whom the allowlist, bans and caps judged, where that is another.
        if asked.client.is_some() || client.declared {
            line.extend_from_slice(b",\"peer\":");
            access::string(&mut line, self.conn.peer.ip().to_canonical().to_string().as_bytes());
        }
        line.extend_from_slice(b",\"method\":");
        quoted(&mut line, asked.method.as_bytes());
        line.extend_from_slice(b",\"host\":");
        quoted(&mut line, asked.host.as_bytes());
        line.extend_from_slice(b",\"path\":");
        access::string(&mut line, asked.path.as_bytes());
        self.line = line;
    }

    /// Notes where the request goes.
    pub(crate) fn routed(&mut self, route: Option<&str>, target: Option<&Rc<Target>>) {
        if let Some(target) = target {
            target.view.counters.worker(self.worker.id).active.add(1);
            self.target = Some(Rc::clone(target));
            if !self.conn.http2.get() {
                *self.conn.target.borrow_mut() = Some(Rc::clone(target));
            }
        }
        if !self.line.is_empty() {
            self.line.extend_from_slice(b",\"route\":");
            quoted(&mut self.line, route.map_or(PREDICT.trim_end_matches('/'), |name| name).as_bytes());
        }
    }

    /// Takes what the request may hold from the budget, if that can carry it.
    pub(crate) fn afford(&mut self, bytes: usize) -> Result<(), Failure> {
        self.grant = self.worker.budget.grant(bytes);
        if self.grant.is_none() {
            self.worker.overloaded(Full::Memory);
            return Err(Failure::Overloaded);
        }
        Ok(())
    }

    /// Notes which instance has the request now; the place at it is held until the record is written.
    pub(crate) fn instance(&mut self, pick: Pick) {
        self.pick = Some(pick);
    }

    /// The attempt failed; the instance is told.
    pub(crate) fn failed(&self, failure: Failure) {
        if let Some(pick) = &self.pick {
            pick.failed(failure);
        }
    }

    /// The place at the instance, for another attempt there.
    pub(crate) fn take_pick(&mut self) -> Option<Pick> {
        self.pick.take()
    }

    /// Adds the instance to those that were tried.
    pub(crate) fn note_tried(&self, tried: &mut Tried) {
        if let Some(pick) = &self.pick {
            tried.add(pick);
        }
    }

    /// The request is sent once more.
    pub(crate) fn retried(&mut self) {
        self.retries = self.retries.saturating_add(1);
        if let Some(target) = &self.target {
            target.view.counters.worker(self.worker.id).retries.add(1);
        }
    }

    /// Notes the answer's head. The record stays open until its last byte.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = status;
        self.first_byte = micros(self.start).max(1);
        if let Some(pick) = &self.pick {
            pick.answered(status);
        }
    }

    /// The gateway answers what was no request: nothing is known of it but where it came in.
    pub(crate) fn refused_unread(&mut self, failure: Failure) {
        let generation = self.worker.current().view.generation.0;
        let counters = Arc::clone(&self.conn.counters.borrow());
        let listener = counters.name.as_str();
        let asked =
            Asked { client: None, forwarded: false, generation, listener, method: "", host: "", path: "" };
        self.asked(&asked);
        self.refused(failure);
    }

    /// The gateway answers itself.
    pub(crate) fn refused(&mut self, failure: Failure) {
        self.status = failure.status();
        self.reason = failure.name();
        self.complete = true;
        // Not a throttled request: the rate is the service's, and one client can use it up for all others.
        let limit = failure == Failure::BodyTooLarge;
        let unauthorized = failure == Failure::Unauthorized;
        let offence = unauthorized.then_some(Offence::Unauthorized).or(limit.then_some(Offence::Limit));
        // What a client does behind a balancer or a forwarder is not the fault of who forwards it.
        if let Some(offence) = offence.filter(|_| !self.relayed) {
            self.worker.shared.config.reports.offence(self.conn.peer.ip(), offence);
        }
        if let Some(target) = &self.target {
            let cells = target.view.counters.worker(self.worker.id);
            if failure == Failure::Unauthorized {
                cells.unauthorized.add(1);
            } else if failure == Failure::Throttled {
                cells.throttled.add(1);
            }
        }
    }

    /// The answer came in one piece: its first byte was its last.
    pub(crate) fn at_once(&mut self) {
        self.lasted = self.first_byte;
    }

    /// The answer's last byte passed.
    pub(crate) fn completed(&mut self) {
        self.complete = true;
        self.reason = "";
        if let Some(pick) = &self.pick {
            pick.completed(self.status);
        }
    }

    /// The answer broke off for this reason after its head was sent.
    pub(crate) fn broken(&mut self, failure: Failure) {
        self.complete = true;
        self.reason = failure.name();
        // In a tunnel either side may be the silent one.
        if let Some(pick) = self.pick.as_ref().filter(|_| self.status != SWITCHING) {
            pick.failed(failure);
        }
    }

    /// Whether the answer's head was noted.
    pub(crate) fn is_answered(&self) -> bool {
        self.first_byte != 0
    }

    /// Whether the request's body is through.
    pub(crate) fn body_sent(&self) -> bool {
        self.progress.as_ref().is_none_or(|progress| progress.sent.get())
    }

    /// Why the request's body was broken off by us.
    pub(crate) fn body_fault(&self) -> Option<Failure> {
        self.progress.as_ref().and_then(|progress| progress.fault.get())
    }

    /// Whether the service was removed, and what it still did has had its time.
    pub(crate) fn is_over(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.is_over(self.worker.timers.tick()))
    }

    /// Whether the request's body waits for the client.
    pub(crate) fn awaits_client(&self) -> bool {
        self.progress.as_ref().is_some_and(|progress| progress.waiting.get())
    }

    /// Bytes of the request's body that passed.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.progress.as_ref().map_or(self.bytes_in, |progress| progress.passed.get())
    }

    pub(crate) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    fn count(&self, micros: u64) {
        let id = self.worker.id;
        let status = if self.complete { self.status } else { Failure::ClientGone.status() };
        let class = class(status);
        if (200..300).contains(&status) {
            let now = self.at();
            if self.conn.serves(now.as_secs()) {
                self.worker.shared.config.reports.served(self.conn.peer.ip(), now);
            }
        }
        {
            let counters = self.conn.counters.borrow();
            let cells = counters.worker(id);
            cells.bytes_in.add(self.bytes_in());
            cells.bytes_out.add(self.bytes_out);
        }
        match &self.target {
            Some(target) => {
                let cells = target.view.counters.worker(id);
                cells.active.sub(1);
                cells.bytes_in.add(self.bytes_in());
                cells.bytes_out.add(self.bytes_out);
                cells.micros.add(micros);
                if let Some(cell) = cells.classes.get(class) {
                    cell.add(1);
                }
                if let Some(cell) = cells.latency.get(bucket(micros)) {
                    cell.add(1);
                }
            }
            None => {
                if let Some(cell) = self.conn.counters.borrow().worker(id).classes.get(class) {
                    cell.add(1);
                }
            }
        }
    }

    fn write(&mut self, micros: u64) {
        let mut line = std::mem::take(&mut self.line);
        if let Some(target) = &self.target {
            line.extend_from_slice(b",\"service\":");
            quoted(&mut line, target.view.service.name.as_bytes());
        }
        if let Some(pick) = &self.pick {
            line.extend_from_slice(b",\"instance\":");
            quoted(&mut line, pick.pool().place.name.as_bytes());
        }
        if self.retries > 0 {
            line.extend_from_slice(b",\"retries\":");
            access::number(&mut line, u64::from(self.retries));
        }
        line.extend_from_slice(b",\"status\":");
        // A client that left before the end has seen the first status, if any; what happened is 499.
        let status = if self.complete { self.status } else { Failure::ClientGone.status() };
        access::number(&mut line, u64::from(status));
        let reason = if self.complete { self.reason } else { Failure::ClientGone.name() };
        if !reason.is_empty() {
            line.extend_from_slice(b",\"reason\":");
            quoted(&mut line, reason.as_bytes());
        }
        for (name, value) in [
            (&b",\"bytes_in\":"[..], self.bytes_in()),
            (b",\"bytes_out\":", self.bytes_out),
            (b",\"first_byte_us\":", self.first_byte),
            (b",\"duration_us\":", micros),
        ] {
            line.extend_from_slice(name);
            access::number(&mut line, value);
        }
        line.push(b'}');
        self.worker.log.borrow_mut().push(&line);
        self.worker.recycle(line);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.forget();
        }
        let micros = if self.lasted == 0 { micros(self.start) } else { self.lasted };
        self.count(micros);
        if !self.line.is_empty() {
            self.write(micros);
        }
        let left = self.conn.in_flight.get().saturating_sub(1);
        self.conn.in_flight.set(left);
        if left == 0 {
            self.conn.target.take();
            let idle = Timers::ticks(self.worker.shared.config.limits.keep_alive);
            self.conn.enter(Phase::Idle, self.worker.timers.tick().saturating_add(idle));
        }
    }
}

/// Appends, in quotes, what cannot have anything in it that JSON would have to escape: names, reasons, methods (RFC 9110
/// §5.6.2 has no quote in a token), hosts and addresses that were checked.
fn quoted(line: &mut Vec<u8>, text: &[u8]) {
    line.push(b'"');
    line.extend_from_slice(text);
    line.push(b'"');
}

fn micros(start: Instant) -> u64 {
    u64::try_from(clock::now().saturating_duration_since(start).as_micros()).unwrap_or(u64::MAX)
}
