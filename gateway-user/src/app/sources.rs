//! What the control API shows of the filter and the proxy, in the API's words.

use std::rc::Rc;

use super::{parts::Parts, shared::Shared};
use crate::{
    api::{SocketStatus, Sources, wire::WorkerStatus},
    proxy::Proxy,
};

/// Lends the other rooms to the API.
pub(super) fn sources(parts: &Parts) -> Sources {
    let Parts { filter, addresses, dns, proxy, reach, liveness, defence } = parts.clone();
    let (workers, sockets, users) = (proxy.clone(), proxy.clone(), proxy.clone());
    Sources {
        reach: Some(Box::new(move || reach.0.borrow().status())),
        filter: Some(Rc::new(filter)),
        addresses: Some(Box::new(move || addresses.0.borrow().status())),
        names: Some(Rc::new(dns)),
        workers: Some(Box::new(move || worker_status(&workers))),
        sockets: Some(Box::new(move || socket_status(&sockets))),
        seen: Some(Box::new(move || users.0.borrow().seen())),
        liveness: Some(liveness),
        bans: Some(defence),
        traffic: Some(proxy.0.borrow().counters()),
    }
}

/// A commit waits for every worker; one that is stuck shows the generation that it still serves.
fn worker_status(proxy: &Shared<Proxy>) -> Vec<WorkerStatus> {
    let proxy = proxy.0.borrow();
    (0..).zip(proxy.workers()).map(|(worker, generation)| WorkerStatus { worker, generation }).collect()
}

fn socket_status(proxy: &Shared<Proxy>) -> Vec<SocketStatus> {
    let listeners = proxy.0.borrow().listeners();
    listeners
        .into_iter()
        .map(|listener| SocketStatus {
            listener: listener.name,
            state: listener.state.to_owned(),
            error: listener.error,
        })
        .collect()
}
