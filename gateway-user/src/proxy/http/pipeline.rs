//! Pure: the ordered stages that judge a request head (DESIGN §5 "Order of checks").
//!
//! Framing → host → misdirected → unknown host → redirect → route or service and its exposure → gRPC → authentication → declared
//! length → throttle → instance. Every stage sees the borrowed head and the view, nothing else.

use std::borrow::Cow;

use super::{
    framing::{self, Body},
    head::{Fields, Head, Host},
};
use crate::{
    proxy::{
        auth,
        failure::Failure,
        route,
        sites::{LocalName, Vhost, covers},
        stage::Outcome,
        view::{ListenerView, Scheme, ServiceView, View},
    },
    snapshot::http::{Protocol, Route},
};

/// What is known of the connection.
pub(crate) struct Arrival<'a> {
    pub(crate) scheme: Scheme,
    pub(crate) local: &'a LocalName,
    /// The name that the TLS client asked for.
    pub(crate) sni: Option<&'a str>,
    /// Names of the certificate that it got.
    pub(crate) certificate: &'a [String],
    /// Nanoseconds of the clock that all workers share.
    pub(crate) now: u64,
    /// Counts the requests of this worker, for weighted choices.
    pub(crate) turn: u64,
}

/// Where a request goes, as far as the stages got.
#[derive(Default)]
pub(crate) struct Decision<'v> {
    pub(crate) host: Option<Host<'v>>,
    pub(crate) route: Option<&'v Route>,
    /// Index of the service that gets copies.
    pub(crate) mirror: Option<usize>,
    /// Index of the service.
    pub(crate) service: Option<usize>,
    /// Bytes to take off the front of the path.
    pub(crate) strip: usize,
    /// The call is gRPC.
    pub(crate) grpc: bool,
    pub(crate) body: Body,
}

/// Runs the stages. The decision is filled as far as they got, for the log.
pub(crate) fn judge<'v, F: Fields>(
    view: &'v View,
    listener: &'v ListenerView,
    arrival: &Arrival<'_>,
    head: &Head<'v, F>,
    decision: &mut Decision<'v>,
) -> Outcome {
    match stages(view, listener, arrival, head, decision) {
        Ok(outcome) => outcome,
        Err(failure) => Outcome::Refuse(failure, None),
    }
}

/// The stages that look at the head alone: whether it says one thing to everybody who reads it.
pub(crate) fn plain<'v, F: Fields>(head: &Head<'v, F>, decision: &mut Decision<'v>) -> Result<(), Failure> {
    decision.grpc = head.grpc();
    decision.body = framing::request(head.fields, head.version)?;
    decision.host = head.host()?;
    if head.method == "CONNECT" {
        return Err(Failure::BadMethod);
    }
    head.check_path()
}

fn stages<'v, F: Fields>(
    view: &'v View,
    listener: &'v ListenerView,
    arrival: &Arrival<'_>,
    head: &Head<'v, F>,
    decision: &mut Decision<'v>,
) -> Result<Outcome, Failure> {
    plain(head, decision)?;
    let vhost = host(listener, arrival, decision.host.as_ref())?;
    if vhost.https_only && arrival.scheme == Scheme::Http {
        return Ok(Outcome::Redirect(https(listener, decision.host.as_ref(), arrival.local)));
    }
    let service = route(view, listener, vhost, arrival.turn, head, decision)?;
    if decision.grpc && service.service.protocol != Protocol::Grpc {
        return Err(Failure::GrpcDisabled);
    }
    if !auth::admits(&service.service.access, head.fields) {
        return Err(Failure::Unauthorized);
    }
    if decision.body.declared().is_some_and(|length| length > service.service.body_limit) {
        return Err(Failure::BodyTooLarge);
    }
    if let Some(rate) = service.service.qps
        && let Err(wait) = service.throttle.admit(arrival.now, rate)
    {
        return Ok(Outcome::Refuse(Failure::Throttled, Some(wait.div_ceil(1_000_000_000).max(1))));
    }
    if service.service.instances.is_empty() {
        return Err(Failure::NoInstance);
    }
    Ok(Outcome::Continue)
}

fn host<'v>(
    listener: &'v ListenerView,
    arrival: &Arrival<'_>,
    host: Option<&Host<'_>>,
) -> Result<&'v Vhost, Failure> {
    let Some(host) = host.map(Host::as_str) else { return Ok(listener.sites.address()) };
    // RFC 9110 §7.4: a client may reuse a connection for another name only where the certificate covers it.
    if let Some(sni) = arrival.sni
        && sni != host
        && !covers(arrival.certificate, host)
    {
        return Err(Failure::Misdirected);
    }
    listener.sites.host(host, arrival.local).ok_or(Failure::UnknownHost)
}

fn route<'v, F: Fields>(
    view: &'v View,
    listener: &'v ListenerView,
    vhost: &'v Vhost,
    turn: u64,
    head: &Head<'_, F>,
    decision: &mut Decision<'v>,
) -> Result<&'v ServiceView, Failure> {
    let predicted = route::predict(head.path)
        .filter(|_| vhost.predict)
        .and_then(|(name, length, _)| Some((listener.sites.services.get(name).copied()?, length)));
    let routed = vhost.route(head);
    // A route wins over the built-in prefix only where it says at least as much of the path.
    let (service, strip) = match (routed, predicted) {
        (Some(entry), Some((index, length))) if entry.summary.prefix < length => (index, length),
        (None, Some((index, length))) => (index, length),
        (Some(entry), _) => {
            decision.route = Some(&entry.route);
            decision.mirror = entry.mirror;
            let index = entry.pick(turn).ok_or(Failure::NoRoute)?;
            (index, if entry.route.strip_prefix { entry.summary.prefix } else { 0 })
        }
        (None, None) => return Err(Failure::NoRoute),
    };
    decision.service = Some(service);
    decision.strip = strip;
    view.services.get(service).map(|service| &**service).ok_or(Failure::NoRoute)
}

/// Scheme and authority of the same host over HTTPS; the caller appends the request target.
fn https(listener: &ListenerView, host: Option<&Host<'_>>, local: &LocalName) -> String {
    let name = match host.map(Host::as_str) {
        None => local.text().into(),
        Some(name) if name.contains(':') => Cow::Owned(format!("[{name}]")),
        Some(name) => name.into(),
    };
    match listener.listener.https {
        Some(443) | None => format!("https://{name}"),
        Some(port) => format!("https://{name}:{port}"),
    }
}
