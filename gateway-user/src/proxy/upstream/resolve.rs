//! Looks names of instances up, off the worker's loop, each name once at a time.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{net::lookup_host, sync::watch, task::spawn_local, time::timeout};

use super::names::{Known, Names};
use crate::base::clock;

/// How long a lookup is waited for while an old answer is at hand.
const PATIENCE: Duration = Duration::from_millis(200);

/// The resolver of one thread.
pub(crate) struct Resolver {
    base: Instant,
    names: RefCell<Names>,
    /// Lookups that run; whoever needs the same name waits for the same one.
    running: RefCell<HashMap<Box<str>, watch::Receiver<()>>>,
}

// === impl Resolver ===

impl Resolver {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { base: clock::now(), names: RefCell::default(), running: RefCell::default() })
    }

    /// The addresses of `host`; `None` if nobody can tell. The caller has the deadline.
    pub(super) async fn resolve(self: &Rc<Self>, host: &str) -> Option<Rc<[IpAddr]>> {
        if let Ok(address) = host.parse() {
            return Some(Rc::new([address]));
        }
        match self.known(host) {
            Known::Fresh(addresses) => return Some(addresses),
            Known::Failed => return None,
            Known::Stale(old) => {
                if timeout(PATIENCE, self.look(host)).await.is_err() {
                    return Some(old);
                }
            }
            Known::Unknown => self.look(host).await,
        }
        match self.known(host) {
            Known::Fresh(addresses) | Known::Stale(addresses) => Some(addresses),
            Known::Failed | Known::Unknown => None,
        }
    }

    fn known(&self, host: &str) -> Known {
        self.names.borrow().get(host, clock::now().saturating_duration_since(self.base))
    }

    /// Waits until a lookup of `host` is over. It goes on and is noted, though nobody waits for it any more: the next
    /// one needs it, and a thread of the resolver's pool is not to be stopped.
    async fn look(self: &Rc<Self>, host: &str) {
        let started = self.running.borrow().get(host).cloned();
        let mut ended = match started {
            Some(ended) => ended,
            None => self.start(host),
        };
        // The sender is dropped when the lookup is over.
        while ended.changed().await.is_ok() {}
    }

    fn start(self: &Rc<Self>, host: &str) -> watch::Receiver<()> {
        let (done, ended) = watch::channel(());
        let host: Box<str> = host.into();
        self.running.borrow_mut().insert(host.clone(), ended.clone());
        let this = Rc::clone(self);
        spawn_local(async move {
            // The port is of no interest, and addresses must not repeat for each socket type.
            let found = lookup_host((&*host, 0)).await.map(|addresses| {
                let mut all: Vec<IpAddr> = Vec::new();
                for address in addresses.map(|address| address.ip()) {
                    if !all.contains(&address) {
                        all.push(address);
                    }
                }
                all
            });
            let found = match found {
                Ok(addresses) => Some(addresses.into()),
                Err(error) => {
                    tracing::debug!(host = &*host, %error, "resolve");
                    None
                }
            };
            let now = clock::now().saturating_duration_since(this.base);
            this.names.borrow_mut().put(&host, found, now);
            this.running.borrow_mut().remove(&host);
            drop(done);
        });
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, Resolver};

    #[test]
    fn a_name_is_looked_up_once_for_all_who_ask_and_literals_never() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let resolver = Resolver::new();
            let literal = resolver.resolve("::1").await.unwrap();
            assert_eq!(*literal, ["::1".parse::<std::net::IpAddr>().unwrap()]);
            assert_eq!(resolver.known("::1"), Known::Unknown);
            let (one, two) = tokio::join!(resolver.resolve("localhost"), resolver.resolve("localhost"));
            let (one, two) = (one.unwrap(), two.unwrap());
            assert!(one.iter().all(std::net::IpAddr::is_loopback) && !one.is_empty());
            assert!(std::rc::Rc::ptr_eq(&one, &two), "the same answer of the same lookup");
            assert!(resolver.running.borrow().is_empty());
            // RFC 6761 §6.4: no resolver knows it.
            assert_eq!(resolver.resolve("nobody.invalid").await, None);
            assert_eq!(resolver.known("nobody.invalid"), Known::Failed);
        });
    }
}
