//! What an edit or a stop does to connections that are open: who stays, who finishes first, who is cut.
//!
//! Access that is taken away ends at once, with a reset: a source that the allowlist does not admit any more, a listener
//! that is closed (the kernel drops every packet to it, so nothing could be finished), a private endpoint that is deleted
//! (silent from then on). What only moves or goes away without anybody losing access finishes within `Limits::drain`.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use tokio::{sync::mpsc::UnboundedReceiver, task::yield_now};

use super::{Command, Worker, target::Target, timer::Timers};
use crate::{
    base::clock,
    proxy::{
        listener::{
            admission::{self, Flow},
            live::Conn,
        },
        view::{ListenerView, Scheme, View},
    },
    snapshot::{Exposure, filter::ListenAddress},
};

/// What becomes of a connection under a new view.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Its listener has this index.
    Stays(usize),
    /// So has its listener, on another socket: who is connected to the old one moves over in the course of time.
    Moves(usize),
    /// Its listener was deleted: it finishes what is in flight.
    Leaves,
    Cut,
}

impl Worker {
    /// Judges every connection by a new view.
    pub(super) fn judge_again(&self, view: &View, previous: &View) {
        let tick = self.timers.tick();
        let window = Timers::ticks(self.shared.config.limits.drain);
        let mut moved = 0_u32;
        self.live.each(|conn| match fate(view, previous, conn) {
            Fate::Stays(index) => conn.listener.set((view.generation.0, index)),
            Fate::Moves(index) => {
                conn.listener.set((view.generation.0, index));
                if conn.leave.get() == (0, 0) {
                    // Spread over the first half of the time, lest all clients come back in the same moment; the golden
                    // ratio spreads any number of them evenly.
                    let share = moved.wrapping_mul(0x9E37_79B9);
                    let after = u64::from(share) * u64::from(window / 2) / (1 << 32);
                    let drain = tick.saturating_add(u32::try_from(after).unwrap_or(window)).saturating_add(1);
                    conn.leave.set((drain, tick.saturating_add(window)));
                    moved = moved.wrapping_add(1);
                }
            }
            Fate::Leaves => {
                if conn.leave.get() == (0, 0) {
                    conn.leave.set((tick, tick.saturating_add(window)));
                }
                conn.drain();
            }
            Fate::Cut => self.cut(conn),
        });
    }

    /// Gives what services that are gone still do a time to finish.
    pub(super) fn end_removed(&self, previous: &[Rc<Target>], targets: &[Rc<Target>]) {
        let end = self.timers.tick().saturating_add(Timers::ticks(self.shared.config.limits.drain));
        for old in previous {
            let service = &old.view.service;
            let same = |target: &Rc<Target>| {
                let other = &target.view.service;
                other.gateway == service.gateway && other.name == service.name
            };
            if !targets.iter().any(same) {
                old.end_at(end);
                self.timers.rouse(end);
            }
        }
    }

    /// Takes no more connections, lets those that are open finish until the deadline, and cuts the rest.
    pub(super) async fn stop(
        self: &Rc<Self>,
        deadline: Duration,
        ticks: &mut tokio::time::Interval,
        commands: &mut UnboundedReceiver<Command>,
    ) {
        self.acceptors.borrow_mut().retain(|_, acceptor| acceptor.close());
        // All at once: nobody can come back here, and the next daemon takes its connections when it runs.
        self.live.each(|conn| conn.drain());
        let until = clock::now() + deadline;
        while !self.live.is_empty() && clock::now() < until {
            tokio::select! {
                _ = ticks.tick() => self.tick(),
                command = commands.recv() => match command {
                    Some(Command::Cut) | None => break,
                    Some(Command::Survey(answer)) => drop(answer.send(self.survey())),
                    // Nothing is put in force any more, and it stops already.
                    Some(_) => {}
                },
            }
        }
        self.live.each(|conn| self.cut(conn));
        // Their tasks see it at their next turn.
        for _ in 0..20 {
            if self.live.is_empty() {
                break;
            }
            yield_now().await;
        }
        self.log.borrow_mut().flush();
    }
}

fn fate(view: &View, previous: &View, conn: &Conn) -> Fate {
    let admits = |listener: &ListenerView, local| {
        let interface = &listener.listener.interface;
        let flow = Flow { interface, peer: conn.peer.ip(), local, new: false };
        admission::refused(&view.tables, flow).is_none()
    };
    if let Some((index, _)) = view.sockets.get(&conn.socket) {
        let admitted =
            view.listeners.get(*index).is_some_and(|listener| admits(listener, conn.local_address));
        return if admitted { Fate::Stays(*index) } else { Fate::Cut };
    }
    let counters = conn.counters.borrow();
    let same = |listener: &ListenerView| {
        listener.listener.gateway == counters.gateway && listener.listener.name == counters.name
    };
    if let Some((index, listener)) = view.listeners.iter().enumerate().find(|(_, listener)| same(listener)) {
        let admitted = now_at(listener, conn).is_some_and(|local| admits(listener, local));
        return if admitted { Fate::Moves(index) } else { Fate::Cut };
    }
    if conn.leave.get() != (0, 0) {
        return Fate::Leaves;
    }
    // The filter leaves a deleted public listener's port to the host, and its packets pass.
    let public = previous
        .listeners
        .iter()
        .any(|listener| same(listener) && listener.listener.exposure == Exposure::Public);
    if public { Fate::Leaves } else { Fate::Cut }
}

/// Where the listener would hear this client now: its allowlist is asked about an address of its own.
fn now_at(view: &ListenerView, conn: &Conn) -> Option<SocketAddr> {
    let listener = &view.listener;
    let port = match conn.scheme {
        Scheme::Http => listener.http.or(listener.https),
        Scheme::Https => listener.https.or(listener.http),
    }?;
    let old = conn.local_address.ip().to_canonical();
    let ip = listener.addresses.iter().find_map(|address| match address {
        ListenAddress::Any => Some(old),
        ListenAddress::Ip(ip) => (ip.is_ipv4() == old.is_ipv4()).then_some(*ip),
    })?;
    Some(SocketAddr::new(ip, port))
}
