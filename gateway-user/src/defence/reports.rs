//! What the proxy's workers and the control thread share: offences one way, bans the other.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{Ban, Cause, Source, recent::Recent};

/// Offences that may wait for the control thread; what does not fit is counted and forgotten.
const WAITING: usize = 4096;

/// What a source did, on a connection whose TCP handshake was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// A request without a valid token.
    Unauthorized,
    /// Bytes that are no TLS handshake.
    Handshake,
    /// A limit of its own was exceeded: body size, its connections.
    Limit,
}

/// The workers' end.
#[derive(Debug)]
pub struct Reports {
    sender: SyncSender<(Source, Offence)>,
    lost: AtomicU64,
    /// Who connected of late.
    active: Recent,
    /// Who was served well of late.
    served: Recent,
    banned: ArcSwap<HashMap<Source, Duration>>,
    /// Counts changes of `banned`.
    version: AtomicU64,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<(Source, Offence)>,
    pub(super) reports: Arc<Reports>,
}

/// Makes both ends.
#[must_use]
pub fn reports() -> (Arc<Reports>, Inbox) {
    let (sender, receiver) = sync_channel(WAITING);
    let reports = Arc::new(Reports {
        sender,
        lost: AtomicU64::new(0),
        active: Recent::default(),
        served: Recent::default(),
        banned: ArcSwap::default(),
        version: AtomicU64::new(0),
    });
    (Arc::clone(&reports), Inbox { receiver, reports })
}

// === impl Reports ===

impl Reports {
    /// Reports an offence. Never waits.
    pub fn offence(&self, peer: IpAddr, offence: Offence) {
        if self.sender.try_send((Source::of(peer), offence)).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Notes that a connection of `peer` was accepted; `now` is since the Unix epoch, here and below.
    pub fn connected(&self, peer: IpAddr, now: Duration) {
        self.active.note(Source::of(peer), now.as_secs() as u32);
    }

    /// Notes that `peer` was served with a 2xx.
    pub fn served(&self, peer: IpAddr, now: Duration) {
        self.served.note(Source::of(peer), now.as_secs() as u32);
    }

    /// Whether an enforced ban holds for `peer`.
    #[must_use]
    pub fn is_banned(&self, peer: IpAddr, now: Duration) -> bool {
        let banned = self.banned.load();
        !banned.is_empty() && banned.get(&Source::of(peer)).is_some_and(|until| *until > now)
    }

    /// Grows when bans come or go.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    pub(super) fn was_served(&self, source: Source, since: Duration) -> bool {
        self.served.has(source, since.as_secs() as u32)
    }

    pub(super) fn active(&self, since: Duration) -> usize {
        self.active.count(since.as_secs() as u32)
    }

    pub(super) fn publish<'a>(&self, bans: impl Iterator<Item = &'a Ban>) {
        let enforced = bans.filter(|ban| ban.enforced).map(|ban| (ban.source, ban.until));
        self.banned.store(Arc::new(enforced.collect()));
        self.version.fetch_add(1, Relaxed);
    }
}

impl Inbox {
    /// The offences that wait.
    pub(super) fn take(&self) -> impl Iterator<Item = (Source, Offence)> {
        self.receiver.try_iter().take(WAITING)
    }
}

impl Offence {
    /// What a ban for it is called.
    #[must_use]
    pub const fn cause(self) -> Cause {
        match self {
            Self::Unauthorized => Cause::Unauthorized,
            Self::Handshake => Cause::Handshake,
            Self::Limit => Cause::Limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Offence, WAITING, reports};

    #[test]
    fn a_full_inbox_loses_offences_and_counts_them() {
        let (reports, inbox) = reports();
        let peer = "192.0.2.1".parse().unwrap();
        for _ in 0..WAITING + 10 {
            reports.offence(peer, Offence::Limit);
        }
        assert_eq!((reports.lost(), inbox.take().count()), (10, WAITING));
        reports.offence(peer, Offence::Handshake);
        assert_eq!(inbox.take().count(), 1);
        assert!(!reports.is_banned(peer, Duration::ZERO));
    }
}
