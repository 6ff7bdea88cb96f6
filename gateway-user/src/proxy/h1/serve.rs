//! Serves HTTP/1.1 on a client's connection: request after request until one side ends it.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Response as Answer;

use super::{
    download::Wanted,
    exchange::{Client, Outcome, Plan},
    head::{self, Bounds, Request},
    over_h2,
    scan::Scan,
    write::{self, ForClient, ForInstance},
};
use crate::{
    base::clock,
    observe::load::Full,
    proxy::{
        budget::cost,
        encode::{Accepted, Choice},
        failure::Failure,
        forwarded::{self, Told},
        http::{
            body,
            coded::Decompression,
            framing::{Body, Version},
            head::Fields as _,
            hop::{Connection, is_tunnel},
            judge::{self, Forward, Moment},
            respond::{self, Details},
        },
        io::{BLOCK, Block, Stream},
        listener::live::{Conn, Phase},
        worker::{Worker, record::Record, timer::Timers},
    },
    snapshot::http::Protocol,
};

/// How long and how much of an unread body is taken in after a refusal, so that the client can read the answer
/// before the close would reset it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// What a connection does after a request.
enum Next {
    Request,
    /// Ends in order.
    Close,
    /// Ends while the client still sends.
    Linger,
    /// Is dropped.
    Drop,
}

/// What became of a request head.
enum Judged {
    Forward(Plan),
    /// Answered by the gateway; the body is not read.
    Answered {
        unread: bool,
        keep_alive: bool,
    },
}

/// Serves `stream` until it ends; `inbox` was read of it already.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: &mut Stream, inbox: Option<Block>, conn: &Rc<Conn>) {
    let mut client = Client { worker, conn, stream, inbox };
    // On a plain port the head has begun already.
    if conn.phase.get() != Phase::Head {
        conn.enter(Phase::Head, client.head_deadline());
    }
    let next = loop {
        let next = match client.head().await {
            // Boxed for as long as the request takes: a connection that waits for one keeps nothing of it.
            Ok(Some(length)) => Box::pin(client.request(length)).await,
            Ok(None) => Next::Close,
            // Where the request ends is not known, so nothing that follows can be read.
            Err(failure) => client.refuse_unjudged(failure),
        };
        match next {
            Next::Request if conn.draining.get() && client.inbox.is_none() => break Next::Close,
            Next::Request => {}
            next @ (Next::Close | Next::Linger | Next::Drop) => break next,
        }
    };
    match next {
        Next::Drop | Next::Request => {}
        Next::Close => client.end().await,
        Next::Linger => {
            client.end().await;
            client.linger().await;
        }
    }
}

// === impl Client ===

impl Client<'_> {
    fn head_deadline(&self) -> u32 {
        let limits = &self.worker.shared.config.limits;
        self.worker.timers.tick().saturating_add(Timers::ticks(limits.header))
    }

    /// The length of the next request's head, which the inbox then begins with; `None`: the client ended.
    async fn head(&mut self) -> Result<Option<usize>, Failure> {
        let mut scan = Scan::default();
        if self.inbox.is_some() && self.conn.phase.get() == Phase::Idle {
            self.conn.enter(Phase::Head, self.head_deadline());
        }
        poll_fn(|context| self.poll_head(context, &mut scan)).await
    }

    /// Serves the request whose head of `length` bytes the inbox begins with.
    async fn request(&mut self, length: usize) -> Next {
        self.conn.grant.borrow_mut().shrink_to(cost::CONNECTION);
        // The one clock reading of the request: throttle, log and metrics share it.
        let start = clock::now();
        let turn = self.worker.next_turn();
        let mut record = Record::open(self.worker, self.conn, start, turn);
        let moment = Moment { now: record.moment(), turn, fault: None };
        // Looked into where it is: a binding by value would be kept a second time while the exchange lasts.
        let mut judged = self.judge(length, moment, &mut record);
        match &mut judged {
            Judged::Forward(plan) => {
                let outcome = match record.afford(cost::REQUEST) {
                    Err(failure) => Outcome::Refused { failure, read: plan.forward.body.is_empty() },
                    Ok(()) => {
                        if plan.forward.target.view.service.protocol.is_http2() {
                            // Boxed: it is rare, and larger than all the rest.
                            Box::pin(over_h2::exchange(self, plan, &mut record)).await
                        } else {
                            self.exchange(plan, &mut record).await
                        }
                    }
                };
                match outcome {
                    Outcome::Gone => Next::Drop,
                    Outcome::Answered { read: false, .. } => Next::Linger,
                    Outcome::Answered { keep_alive: true, .. } => Next::Request,
                    Outcome::Answered { keep_alive: false, .. } => Next::Close,
                    Outcome::Refused { failure, read } => {
                        let keep_alive = self.refuse(failure, read, plan, &mut record);
                        self.sent(!read, keep_alive).await
                    }
                }
            }
            Judged::Answered { unread, keep_alive } => self.sent(*unread, *keep_alive).await,
        }
    }

    /// Writes the answer to a request that no instance answered, and says whether the connection goes on.
    fn refuse(&mut self, failure: Failure, read: bool, plan: &Plan, record: &mut Record) -> bool {
        record.refused(failure);
        let limit = plan.forward.target.view.service.body_limit;
        let limit = Some(limit).filter(|_| failure == Failure::BodyTooLarge);
        let retry = (failure == Failure::Overloaded).then_some(1);
        let details = Details { id: &record.id, grpc: plan.forward.grpc, retry, limit };
        let wanted = &plan.wanted;
        let keep_alive = wanted.keep_alive && read && !self.conn.draining.get();
        self.write(&respond::refuse(failure, &details), wanted.head, wanted.version, keep_alive);
        keep_alive
    }

    /// Waits until an answer of the gateway's own is with the kernel; `unread`: something of the request was not read.
    async fn sent(&mut self, unread: bool, keep_alive: bool) -> Next {
        let _ = poll_fn(|context| self.stream.poll_sent(context)).await;
        match (unread, keep_alive) {
            (true, _) => Next::Linger,
            (false, true) => Next::Request,
            (false, false) => Next::Close,
        }
    }

    /// Ready with the length of a complete head that the inbox begins with; `None`: the client ended, or was too late
    /// and had not begun a head that could be answered.
    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        scan: &mut Scan,
    ) -> Poll<Result<Option<usize>, Failure>> {
        let limits = &self.worker.shared.config.limits;
        let bounds = Bounds { bytes: limits.head_bytes, fields: limits.head_fields };
        loop {
            if let Some(block) = &mut self.inbox {
                if let Some(place) = Request::find(scan, block.data(), bounds)? {
                    block.consume(place.start);
                    return Poll::Ready(Ok(Some(place.len())));
                }
                block.make_room();
                if block.room() == 0 {
                    let mut large = self.worker.blocks.take_large(limits.head_bytes.max(2 * BLOCK));
                    large.append(block.data());
                    *block = large;
                }
            } else if self.conn.draining.get() {
                return Poll::Ready(Ok(None));
            }
            let Poll::Ready(taken) = self.stream.poll_inbox(context, &mut self.inbox) else {
                let failure = match self.conn.is_head_late(self.worker.timers.tick()) {
                    _ if !self.affords() => Failure::Overloaded,
                    true => Failure::HeadTimeout,
                    false => return Poll::Pending,
                };
                return Poll::Ready(if scan.has_begun() { Err(failure) } else { Ok(None) });
            };
            match taken {
                Ok(1..) => {
                    if self.conn.phase.get() == Phase::Idle {
                        self.conn.enter(Phase::Head, self.head_deadline());
                    }
                }
                Ok(0) | Err(_) => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Whether the budget carries what waits for the rest of a head: much more than an idle connection holds, and with
    /// slow clients for long.
    fn affords(&self) -> bool {
        let held = self.inbox.as_ref().map_or(0, Block::size) + self.stream.held();
        let affords = held == 0 || self.conn.grant.borrow_mut().grow_to(cost::CONNECTION + held);
        if !affords {
            self.worker.overloaded(Full::Memory);
        }
        affords
    }

    /// Parses and judges the head of `length` bytes, and writes the instance's. Synchronous, so that nothing of it is
    /// kept while the connection waits.
    fn judge(&mut self, length: usize, moment: Moment, record: &mut Record) -> Judged {
        let Some(mut block) = self.inbox.take() else {
            return Judged::Answered { unread: true, keep_alive: false };
        };
        let judged = {
            let bytes = block.data().get(..length).unwrap_or_default();
            let mut room = head::room();
            let limit = self.worker.shared.config.limits.head_fields;
            match Request::parse(bytes, &mut room, limit) {
                Ok(head) => self.judge_head(&head, moment, record),
                Err(failure) => {
                    record.refused_unread(failure);
                    let details = Details { id: &record.id, grpc: false, retry: None, limit: None };
                    Err((respond::boxed(failure, &details), Refused::default()))
                }
            }
        };
        block.consume(length);
        if !block.is_empty() {
            self.inbox = Some(block);
        }
        match judged {
            Ok(plan) => Judged::Forward(plan),
            Err((answer, refused)) => {
                self.write(&answer, refused.head, refused.version, refused.keep_alive);
                Judged::Answered { unread: refused.unread, keep_alive: refused.keep_alive }
            }
        }
    }

    fn judge_head(
        &self,
        head: &Request<'_>,
        moment: Moment,
        record: &mut Record,
    ) -> Result<Plan, (Box<Answer<body::Answer>>, Refused)> {
        let connection = Connection::read(&head.fields);
        let keep_alive = !connection.close
            && !self.conn.draining.get()
            && (head.version == Version::Http11 || connection.keep_alive);
        let is_head = head.method == "HEAD";
        let mut refused = Refused { head: is_head, version: head.version, keep_alive, unread: false };
        let view = head.view();
        let forward = match judge::judge(self.worker, self.conn, &view, head.target, moment, record) {
            Ok(forward) => forward,
            Err(answer) => {
                let body = crate::proxy::http::framing::request(&head.fields, head.version);
                refused.unread = !body.is_ok_and(Body::is_empty);
                refused.keep_alive &= !refused.unread;
                return Err((answer, refused));
            }
        };
        let expect = match self.expectation(head, forward.body) {
            Ok(expect) => expect,
            Err(failure) => {
                refused.unread = !forward.body.is_empty();
                refused.keep_alive &= !refused.unread;
                return Err((Box::new(judge::refuse(record, &forward, failure)), refused));
            }
        };
        let upgrade = head.fields.all("upgrade").next().filter(|protocol| {
            connection.upgrade
                && is_tunnel(protocol)
                && head.version == Version::Http11
                && forward.body == Body::None
                && forward.target.view.service.protocol == Protocol::Http
        });
        let service = &forward.target.view.service;
        let accepted = (!service.compression.is_empty()).then(|| Accepted::read(&head.fields));
        let wanted = Wanted {
            head: is_head,
            version: head.version,
            keep_alive,
            upgrade: upgrade.is_some(),
            expect,
            accepted,
        };
        let empty = forward.body.is_empty();
        let decompression = match Decompression::of_request(self.worker, service, &head.fields, empty) {
            Ok(decompression) => decompression.map(Box::new),
            Err(failure) => {
                refused.unread = true;
                refused.keep_alive = false;
                return Err((Box::new(judge::refuse(record, &forward, failure)), refused));
            }
        };
        let decoded = decompression.is_some();
        let mut out = self.worker.buffer();
        let hand = Hand { id: record.id.as_bytes(), upgrade, expect, decoded };
        self.instance_head(&mut out, head, connection, &forward, hand);
        let idempotent = matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE");
        Ok(Plan { forward, head: out, wanted, idempotent, decompression })
    }

    /// Whether the client waits for a 100 (RFC 9110 §10.1.1); HTTP/1.0 knows no expectations.
    fn expectation(&self, head: &Request<'_>, body: Body) -> Result<bool, Failure> {
        if head.version == Version::Http10 {
            return Ok(false);
        }
        let mut values = head.fields.all("expect");
        match (values.next(), values.next()) {
            (None, _) => Ok(false),
            (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => Ok(!body.is_empty()),
            _ => Err(Failure::BadExpectation),
        }
    }

    fn instance_head(
        &self,
        out: &mut Vec<u8>,
        head: &Request<'_>,
        connection: Connection,
        forward: &Forward,
        hand: Hand<'_>,
    ) {
        let Hand { id, upgrade, expect, decoded } = hand;
        let host = match (head.authority, head.fields.all("host").next()) {
            (Some(authority), _) => authority.as_bytes(),
            (None, Some(host)) => host,
            (None, None) => self.conn.local.text().as_bytes(),
        };
        let client = self.conn.client.borrow();
        let version = if head.version == Version::Http10 { "1.0" } else { "1.1" };
        let hop = client.hop(self.conn.scheme, version);
        let told = match &forward.forwarders {
            Some(forwarders) => forwarded::read(&head.fields, hop.address, forwarders),
            None => Told::Nothing,
        };
        let asked = ForInstance {
            method: head.method,
            target: head.target,
            strip: forward.strip,
            host,
            body: if decoded { Body::Chunked } else { forward.body },
            upgrade,
            expect,
            id,
            token: forward.target.view.service.forward_token,
            believed: told.believed(),
            decoded,
        };
        write::request(out, &asked, &head.fields, head.fields.iter(), connection, |out| {
            told.write(&hop, host, out, write::begin_field, write::end_field);
        });
    }

    /// Writes the answer to what was no request head; it goes out before the end of the stream.
    fn refuse_unjudged(&mut self, failure: Failure) -> Next {
        let turn = self.worker.next_turn();
        let mut record = Record::open(self.worker, self.conn, clock::now(), turn);
        record.refused_unread(failure);
        let retry = (failure == Failure::Overloaded).then_some(1);
        let details = Details { id: &record.id, grpc: false, retry, limit: None };
        self.write(&respond::refuse(failure, &details), false, Version::Http11, false);
        Next::Linger
    }

    fn write(&mut self, answer: &Answer<body::Answer>, head: bool, version: Version, keep_alive: bool) {
        let mut out = self.worker.buffer();
        let text = match answer.body() {
            body::Answer::Own(Some(text)) => &text[..],
            body::Answer::Own(None) | body::Answer::Relay(_) => &[],
        };
        let date = self.worker.date();
        let shape = ForClient {
            body: Body::Length(text.len() as u64),
            version,
            keep_alive,
            date: &date,
            coding: Choice::Pass,
            switching: false,
        };
        let fields =
            answer.headers().iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        write::own(&mut out, answer.status().as_u16(), fields, text, &shape, head);
        self.stream.keep(&out);
        self.worker.recycle(out);
    }

    async fn end(&mut self) {
        let _ = poll_fn(|context| self.stream.poll_end(context)).await;
    }

    /// Takes in what the client still sends. Our side is shut down; closing with unread bytes would reset the
    /// connection and could destroy the answer on its way (RFC 9112 §9.6).
    async fn linger(&mut self) {
        let deadline = self.worker.timers.deadline(LINGER);
        let mut left = LINGER_BYTES;
        self.inbox = None;
        let drain = poll_fn(|context| {
            while left > 0 {
                let mut block = self.worker.blocks.take();
                match ready!(self.stream.poll_fill(context, &mut block)) {
                    Ok(count @ 1..) => left = left.saturating_sub(count),
                    Ok(0) | Err(_) => break,
                }
            }
            Poll::Ready(())
        });
        let _ = deadline.bound(drain).await;
    }
}

/// What the instance's head says besides the client's own.
struct Hand<'h> {
    id: &'h [u8],
    upgrade: Option<&'h [u8]>,
    expect: bool,
    /// The body is decompressed on the way.
    decoded: bool,
}

/// How a refused request's connection goes on.
#[derive(Clone, Copy)]
struct Refused {
    head: bool,
    version: Version,
    keep_alive: bool,
    unread: bool,
}

impl Default for Refused {
    fn default() -> Self {
        Self { head: false, version: Version::Http11, keep_alive: false, unread: true }
    }
}
