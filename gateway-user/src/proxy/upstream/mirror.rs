//! Copies of requests for another service, whose answers nobody sees.
//!
//! A copy is sent when the original's body is through, by a task of its own: nothing of the original waits for it or
//! fails with it. Only requests without a body, or with one of at most 64 KiB, are copied; at most 64 copies are under
//! way in a worker, and what is more is dropped and counted. The answer is read and thrown away, within the deadlines
//! of the service that gets the copy.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper::{
    body::{Body as _, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::TokioIo;
use tokio::task::{AbortHandle, spawn_local};

use super::{LocalExecutor, Pool, Tried, dial::dial};
use crate::{
    observe::traffic::ServiceCells,
    proxy::{
        failure::Failure,
        worker::{Worker, target::Target},
    },
};

/// Copies under way in one worker.
const COPIES_MAX: usize = 64;
/// Bytes of a body that is copied.
const BODY_MAX: usize = 64 * 1024;

/// The copies of one worker, and their connections: not the originals', which must not wait for one.
#[derive(Default)]
pub(crate) struct Mirrors {
    under_way: Cell<usize>,
    spare: RefCell<Vec<Spare>>,
}

/// An unused connection; it carries one copy at a time, also over HTTP/2.
struct Spare {
    pool: Rc<Pool>,
    sender: Sender,
    driver: Driver,
    since: u32,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// The task of a connection, which ends with it.
struct Driver(AbortHandle);

/// What a copy takes of a head, as the original's own instance gets it: method, path with query, fields.
pub(crate) type Copied = (Method, PathAndQuery, HeaderMap);

/// A copy in the making. Dropped before it is sent, it is none.
pub(crate) struct Copy {
    worker: Rc<Worker>,
    target: Rc<Target>,
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Vec<u8>,
    /// The body is too large.
    over: bool,
}

// === impl Mirrors ===

impl Mirrors {
    /// Closes connections that were unused for `idle` ticks.
    pub(crate) fn expire(&self, tick: u32, idle: u32) {
        self.spare.borrow_mut().retain(|spare| tick.saturating_sub(spare.since) < idle);
    }

    fn take(&self, pool: &Rc<Pool>) -> Option<(Sender, Driver)> {
        let mut spare = self.spare.borrow_mut();
        spare.retain(|spare| match &spare.sender {
            Sender::One(sender) => sender.is_ready(),
            Sender::Two(sender) => !sender.is_closed(),
        });
        let index = spare.iter().rposition(|spare| Rc::ptr_eq(&spare.pool, pool))?;
        let Spare { sender, driver, .. } = spare.swap_remove(index);
        Some((sender, driver))
    }

    fn put(&self, pool: &Rc<Pool>, sender: Sender, driver: Driver, tick: u32) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < COPIES_MAX {
            spare.push(Spare { pool: Rc::clone(pool), sender, driver, since: tick });
        }
    }
}

// === impl Copy ===

impl Copy {
    /// A copy for `target` of a request with this head. `None`: too many are under way.
    pub(crate) fn new(
        worker: &Rc<Worker>,
        target: &Rc<Target>,
        (method, path, mut headers): Copied,
    ) -> Option<Self> {
        if worker.mirrors.under_way.get() >= COPIES_MAX {
            target.view.counters.worker(worker.id).mirror_dropped.add(1);
            return None;
        }
        worker.mirrors.under_way.set(worker.mirrors.under_way.get() + 1);
        if !target.view.service.forward_token {
            headers.remove(header::AUTHORIZATION);
        }
        // The copy's body is whole, and its length is set anew.
        headers.remove(header::CONTENT_LENGTH);
        let (worker, target) = (Rc::clone(worker), Rc::clone(target));
        Some(Self { worker, target, method, path, headers, body: Vec::new(), over: false })
    }

    /// Bytes of the body, as they pass.
    pub(crate) fn data(&mut self, bytes: &[u8]) {
        self.over |= self.body.len() + bytes.len() > BODY_MAX;
        if self.over {
            self.body = Vec::new();
        } else {
            self.body.extend_from_slice(bytes);
        }
    }

    /// The original's body is through: the copy goes its own way.
    pub(crate) fn send(self) {
        if self.over {
            self.cells().mirror_dropped.add(1);
            return;
        }
        spawn_local(async move {
            let timeouts = &self.target.view.service.timeouts;
            let deadline = self.worker.timers.deadline(timeouts.connect + timeouts.first_byte);
            let sent = deadline.bound(self.deliver()).await.unwrap_or(Err(Failure::FirstByte));
            let cells = self.cells();
            match sent {
                Ok(()) => cells.mirrored.add(1),
                Err(failure) => {
                    tracing::debug!(service = %self.target.view.service.name, reason = failure.name(), "mirror");
                    cells.mirror_failed.add(1);
                }
            }
        });
    }

    async fn deliver(&self) -> Result<(), Failure> {
        let worker = &self.worker;
        // A bound is for requests whose answers somebody waits for; a copy does not stand in their line.
        let pick = self.target.pick(worker, 0, &Tried::default()).map_err(|_| Failure::NoInstance)?;
        let pool = Rc::clone(pick.pool());
        let (mut sender, driver) = match worker.mirrors.take(&pool) {
            Some(taken) => taken,
            None => {
                let opened = connect(worker, &pool, self.target.view.service.timeouts.connect).await;
                opened.inspect_err(|failure| pick.failed(*failure))?
            }
        };
        let answer = match &mut sender {
            Sender::One(sender) => sender.send_request(self.request(&pool)?).await,
            Sender::Two(sender) => sender.send_request(self.request(&pool)?).await,
        };
        let answer = answer.map_err(|_| Failure::Reset)?;
        pick.answered(answer.status().as_u16());
        if throw_away(answer.into_body()).await {
            worker.mirrors.put(&pool, sender, driver, worker.timers.tick());
        }
        Ok(())
    }

    fn request(&self, pool: &Pool) -> Result<Request<Full<Bytes>>, Failure> {
        let mut headers = self.headers.clone();
        let uri = if pool.protocol.is_http2() {
            let host = headers.remove(header::HOST);
            let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(&pool.place.name);
            let scheme = if pool.place.tls.is_some() { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(self.path.clone());
            uri.build().map_err(|_| Failure::BadHost)?
        } else {
            if !headers.contains_key(header::HOST) {
                let host = HeaderValue::from_str(&pool.place.name).map_err(|_| Failure::BadHost)?;
                headers.insert(header::HOST, host);
            }
            Uri::from(self.path.clone())
        };
        let mut request = Request::new(Full::new(Bytes::from(self.body.clone())));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn cells(&self) -> &ServiceCells {
        self.target.view.counters.worker(self.worker.id)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let under_way = &self.worker.mirrors.under_way;
        under_way.set(under_way.get().saturating_sub(1));
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    limit: std::time::Duration,
) -> Result<(Sender, Driver), Failure> {
    let view = std::sync::Arc::clone(&worker.current().view);
    let io = TokioIo::new(dial(&pool.place, &worker.resolver, &view, limit).await?);
    if pool.protocol.is_http2() {
        let (sender, connection) = http2::handshake(LocalExecutor, io).await.map_err(|_| Failure::Connect)?;
        let driver = spawn_local(async move { drop(connection.await) });
        Ok((Sender::Two(sender), Driver(driver.abort_handle())))
    } else {
        let (sender, connection) = http1::handshake(io).await.map_err(|_| Failure::Connect)?;
        let driver = spawn_local(async move { drop(connection.await) });
        Ok((Sender::One(sender), Driver(driver.abort_handle())))
    }
}

/// Reads to the end; says whether it came.
async fn throw_away(mut body: Incoming) -> bool {
    loop {
        match std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await {
            None => return true,
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
        }
    }
}

/// Whether this request is one of the `percent` that are copied; `random` is fresh for every call.
pub(crate) fn is_copied(percent: u8, random: u64) -> bool {
    random % 100 < u64::from(percent)
}
