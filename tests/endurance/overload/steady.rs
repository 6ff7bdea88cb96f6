//! Clients that do nothing wrong: a request at a time, at a pace far below what the gateway can serve.

use std::{io, time::Duration};

use http_body_util::BodyExt;
use tokio::{
    task::JoinSet,
    time::{Instant, interval_at, timeout},
};

use super::tally::{Kind, Outcome, Tally};
use crate::{
    link::{Client, End, PATIENCE, Version},
    scene::Door,
};

/// A timer of the runtime may fire so much late, which is nobody's waiting.
const GRAIN: Duration = Duration::from_millis(1);

/// Some clients of one service, each with a connection of its own that it had before the flood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Party {
    pub(super) kind: Kind,
    pub(super) service: &'static str,
    pub(super) clients: u32,
    /// Between two requests of one client.
    pub(super) pace: Duration,
}

// === impl Party ===

impl Party {
    /// Connects all of them and lets them ask until the set is dropped.
    pub(super) async fn start(self, door: &Door, tally: &Tally, running: &mut JoinSet<()>) {
        for index in 0..self.clients {
            let client = Client::connect(door, Version::H1, End::Fin).await.unwrap();
            let begin = Instant::now() + self.pace * index / self.clients;
            running.spawn(self.ask_on(client, format!("{:?}{index}", self.kind), begin, tally.clone()));
        }
    }

    async fn ask_on(self, mut client: Client, name: String, begin: Instant, tally: Tally) {
        let mut ticks = interval_at(begin, self.pace);
        for number in 0_u64.. {
            // Waiting counts from when it wanted to ask: an answer that is late makes the next ones late, too.
            let due = ticks.tick().await + GRAIN;
            let start = Instant::now().min(due);
            let result = ask(&mut client, self.service, &format!("{name}n{number}")).await;
            let elapsed = start.elapsed();
            let result = result.unwrap_or_else(|error| Err(format!("its connection ended: {error}")));
            if self.kind == Kind::Steady && result == Ok(Outcome::Served) {
                tally.served(elapsed);
            }
            let failed = result.is_err();
            tally.note(self.kind, result);
            if failed {
                return;
            }
        }
    }
}

/// Has `service` say `word`. The outer error is the connection's end, the inner one an answer that must not be.
pub(super) async fn ask(
    client: &mut Client,
    service: &str,
    word: &str,
) -> io::Result<Result<Outcome, String>> {
    let response = client.get(service, &format!("/say/{word}")).await?;
    let outcome = Outcome::of(response.status(), response.headers());
    let body = timeout(PATIENCE, response.into_body().collect()).await?.map_err(io::Error::other)?.to_bytes();
    Ok(match outcome {
        Ok(Outcome::Served) if body != word => Err(format!("{body:?} instead of {word}")),
        outcome => outcome,
    })
}
