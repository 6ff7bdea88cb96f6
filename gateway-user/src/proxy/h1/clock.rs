//! The deadlines of one exchange: the instance's, and the client's for its body.

use std::{
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    proxy::{
        failure::Failure,
        http::judge::Forward,
        rate::Floor,
        worker::{
            Worker,
            timer::{Deadline, Late, Timers},
        },
    },
    snapshot::http::Timeouts,
};

/// A client that waits for a 100 is told to go on after this long, whatever the instance does: some never say it.
const CONTINUE: Duration = Duration::from_secs(1);

/// Deadlines of one exchange.
pub(super) struct Clock {
    instance: Deadline,
    /// What the instance's deadline is set for.
    awaits: Awaits,
    /// Most requests have no body, and nothing of the client's to wait for.
    pub(super) client: Option<Patience>,
}

/// What the instance is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    Nothing,
    /// That it takes more of the request.
    Taking,
    FirstByte,
    More,
}

/// How long a client may take for its body.
pub(super) struct Patience {
    deadline: Deadline,
    floor: Floor,
    /// The deadline is that of a silence in a dialogue.
    idling: bool,
}

// === impl Clock ===

impl Clock {
    /// `expect`: the client waits for a 100.
    pub(super) fn new(worker: &Rc<Worker>, forward: &Forward, expect: bool) -> Self {
        let instance = worker.timers.deadline(forward.target.view.service.timeouts.first_byte);
        instance.disarm();
        let client = (!forward.body.is_empty()).then(|| Patience::new(worker, expect));
        Self { instance, awaits: Awaits::Nothing, client }
    }

    /// The instance is not waited for: there will be another connection.
    pub(super) fn disarm(&mut self) {
        self.awaits = Awaits::Nothing;
        self.instance.disarm();
    }

    /// Ready when the instance takes too long; `moved`: something passed since the last call, either way.
    pub(super) fn poll_instance(
        &mut self,
        context: &mut Context<'_>,
        awaits: Awaits,
        moved: bool,
        timeouts: &Timeouts,
    ) -> Poll<Failure> {
        if awaits != self.awaits || (moved && awaits != Awaits::FirstByte) {
            self.awaits = awaits;
            match awaits {
                Awaits::Nothing => self.instance.disarm(),
                Awaits::Taking | Awaits::FirstByte => self.instance.arm(timeouts.first_byte),
                Awaits::More => self.instance.arm(timeouts.idle),
            }
        }
        let late = if awaits == Awaits::More { Failure::Idle } else { Failure::FirstByte };
        self.instance.poll(context).map(|Late| late)
    }
}

// === impl Patience ===

impl Patience {
    fn new(worker: &Rc<Worker>, expect: bool) -> Self {
        let limits = &worker.shared.config.limits;
        let deadline = worker.timers.deadline(CONTINUE);
        if !expect {
            deadline.disarm();
        }
        let floor = Floor::new(limits.body_rate, Timers::ticks(limits.body_idle));
        Self { deadline, floor, idling: false }
    }

    /// Bytes of the body came.
    pub(super) fn arrived(&mut self, bytes: u64, tick: u32) {
        self.floor.note(bytes, tick);
        self.idling = false;
        self.deadline.disarm();
    }

    /// The instance talks, and the client listens: that is no silence.
    pub(super) fn listens(&mut self) {
        self.idling = false;
    }

    /// The client is waited for: it keeps a rate until it is answered, and then both may be silent for as long as the
    /// service lets them, which is `dialogue`.
    pub(super) fn wait(&mut self, dialogue: Option<Duration>, tick: u32) {
        match dialogue {
            None => {
                self.floor.wait(tick);
                self.deadline.set(self.floor.due().unwrap_or_default());
            }
            Some(idle) if !std::mem::replace(&mut self.idling, true) => self.deadline.arm(idle),
            Some(_) => {}
        }
    }

    /// Nobody waits for the client.
    pub(super) fn rest(&self) {
        self.deadline.disarm();
    }

    /// Ready when the client takes too long, or should be told to go on.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Late> {
        self.deadline.poll(context)
    }
}
