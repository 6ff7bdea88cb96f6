//! Runs the stages for a request of either protocol, and notes for its record what they found.

use std::{rc::Rc, sync::Arc};

use http::{Response, StatusCode};
use ipnet::IpNet;

use super::{
    body::Answer,
    framing::Body,
    head::{Fields, Head, Host},
    pipeline::{self, Arrival, Decision},
    respond::{self, Details},
};
use crate::proxy::{
    failure::Failure,
    forwarded::{self, Told},
    listener::live::Conn,
    stage::Outcome,
    upstream::{balance, mirror},
    worker::{
        Worker,
        record::{Asked, Record},
        target::Target,
    },
};

/// Where a judged request goes.
pub(crate) struct Forward {
    pub(crate) target: Rc<Target>,
    /// Bytes to take off the front of the path.
    pub(crate) strip: usize,
    pub(crate) grpc: bool,
    pub(crate) body: Body,
    /// The listener's, if one of them made the request.
    pub(crate) forwarders: Option<Arc<[IpNet]>>,
    /// What a consistent hash keeps the request with.
    pub(crate) key: u64,
    /// The route lets every method be sent again.
    pub(crate) retry_unsafe: bool,
    /// Who gets a copy.
    pub(crate) mirror: Option<Rc<Target>>,
}

/// What the stages do not see of a request: when it came, for throttles and weighted choices, and how it was written.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    /// Nanoseconds of the clock that all workers share.
    pub(crate) now: u64,
    /// Counts the worker's requests.
    pub(crate) turn: u64,
    /// What is wrong with the head besides what they look at.
    pub(crate) fault: Option<Failure>,
}

/// Runs the pipeline; `asked` is path and query. The error is the answer to a request that goes no further.
pub(crate) fn judge<F: Fields>(
    worker: &Rc<Worker>,
    conn: &Conn,
    head: &Head<'_, F>,
    asked: &str,
    moment: Moment,
    record: &mut Record,
) -> Result<Forward, Box<Response<Answer>>> {
    let current = worker.current();
    let view = &current.view;
    // A new view renumbers listeners; the socket tells which one this connection belongs to.
    let (seen, mut index) = conn.listener.get();
    if seen != view.generation.0 {
        index = view.sockets.get(&conn.socket).map_or(usize::MAX, |(index, _)| *index);
        conn.listener.set((view.generation.0, index));
    }
    let mut decision = Decision::default();
    let forwarders = view.listeners.get(index).map(|view| &view.listener.forwarders);
    let mut told = Told::Nothing;
    let (name, outcome) = match view.listeners.get(index) {
        Some(listener) if let Some(failure) = moment.fault => {
            (listener.listener.name.as_str(), Outcome::Refuse(failure, None))
        }
        Some(listener) => {
            let speaker = conn.client.borrow().address.ip();
            told = forwarded::read(head.fields, speaker, &listener.listener.forwarders);
            let sni = conn.sni.borrow();
            let certificate = conn.certificate.borrow();
            let arrival = Arrival {
                scheme: conn.scheme,
                local: &conn.local,
                sni: sni.as_deref(),
                certificate: &certificate,
                now: moment.now,
                turn: moment.turn,
            };
            let outcome = pipeline::judge(view, listener, &arrival, head, &mut decision);
            (listener.listener.name.as_str(), outcome)
        }
        None => ("", Outcome::Refuse(Failure::UnknownHost, None)),
    };
    let host = decision.host.as_ref().map_or("", Host::as_str);
    record.asked(&Asked {
        client: told.client(),
        forwarded: told.believed(),
        generation: view.generation.0,
        listener: name,
        method: head.method,
        host,
        path: head.path,
    });
    let target = decision.service.and_then(|service| current.targets.get(service));
    if target.is_some() {
        record.routed(decision.route.map(|route| &*route.name), target);
    }
    let limit = target.map(|target| target.view.service.body_limit);
    match (outcome, target) {
        (Outcome::Continue, Some(target)) => {
            target.count(worker);
            let mirror = decision.route.and_then(|route| route.mirror.as_ref()).filter(|mirror| {
                mirror::is_copied(mirror.percent, balance::mix(moment.turn ^ worker.prefix))
            });
            let mirror = mirror.and(decision.mirror).and_then(|index| current.targets.get(index));
            Ok(Forward {
                mirror: mirror.map(Rc::clone),
                target: Rc::clone(target),
                strip: decision.strip,
                grpc: decision.grpc,
                body: decision.body,
                key: target.key(head, told.client().unwrap_or_else(|| conn.client.borrow().address.ip())),
                forwarders: told.believed().then(|| forwarders.map(Arc::clone)).flatten(),
                retry_unsafe: decision.route.is_some_and(|route| route.retry_unsafe),
            })
        }
        (Outcome::Redirect(place), _) => {
            record.answered(StatusCode::PERMANENT_REDIRECT.as_u16());
            record.completed();
            Err(Box::new(respond::redirect(&format!("{place}{asked}"), &record.id)))
        }
        (Outcome::Refuse(failure, retry), _) => {
            record.refused(failure);
            let limit = limit.filter(|_| failure == Failure::BodyTooLarge);
            Err(respond::boxed(failure, &Details { id: &record.id, grpc: decision.grpc, retry, limit }))
        }
        (Outcome::Continue, None) => {
            record.refused(Failure::NoRoute);
            let details = Details { id: &record.id, grpc: decision.grpc, retry: None, limit: None };
            Err(respond::boxed(Failure::NoRoute, &details))
        }
    }
}

/// Ends a request that got past the stages.
pub(crate) fn refuse(record: &mut Record, forward: &Forward, failure: Failure) -> Response<Answer> {
    record.refused(failure);
    let limit = Some(forward.target.view.service.body_limit).filter(|_| failure == Failure::BodyTooLarge);
    // Room comes back as soon as others are done.
    let retry = (failure == Failure::Overloaded).then_some(1);
    respond::refuse(failure, &Details { id: &record.id, grpc: forward.grpc, retry, limit })
}
