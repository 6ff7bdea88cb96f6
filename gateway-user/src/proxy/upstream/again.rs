//! Pure: may a request that failed be sent again, and where.
//!
//! Never after a byte of an answer, never for what the client or the gateway itself is to blame for. To the same
//! instance once, over a new connection, where an old one was closed in the very moment of its use: that is no fault of
//! the instance, and draws on no budget. Else to another instance, as long as there are attempts left.

use super::super::failure::{Failure, Side};

/// What is known when an attempt has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) failure: Failure,
    /// A byte of the request may have reached the instance.
    pub(crate) sent: bool,
    /// The method may be repeated (RFC 9110 §9.2.2).
    pub(crate) idempotent: bool,
    /// The route says that every method may.
    pub(crate) retry_unsafe: bool,
    /// The whole request is at hand.
    pub(crate) kept: bool,
    /// The connection had served before.
    pub(crate) reused: bool,
    /// The request was sent over a new connection because of an old one before.
    pub(crate) renewed: bool,
    /// A byte of an answer came.
    pub(crate) answered: bool,
    /// Attempts so far, this one included, without renewals.
    pub(crate) made: u32,
    /// Attempts in all.
    pub(crate) most: u32,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    No,
    /// To the same instance, over a new connection.
    Renewed,
    /// To another instance. `paid`: it draws on the service's budget, because the instance may have worked on the
    /// request; one that was never sent anywhere is no more load than the client asked for.
    Another {
        paid: bool,
    },
}

/// Decides. A request that cannot be repeated is answered with its failure.
pub(crate) fn again(attempt: &Attempt) -> Again {
    let blame = match attempt.failure.side() {
        Side::Upstream => true,
        Side::Gateway => attempt.failure == Failure::Loop,
        Side::Client => false,
    };
    let harmless = !attempt.sent || attempt.idempotent || attempt.retry_unsafe;
    if attempt.answered || !attempt.kept || !blame || !harmless {
        return Again::No;
    }
    if attempt.reused && !attempt.renewed && attempt.failure == Failure::Reset {
        return Again::Renewed;
    }
    if attempt.made < attempt.most { Again::Another { paid: attempt.sent } } else { Again::No }
}

#[cfg(test)]
mod tests {
    use super::{Again, Attempt, again};
    use crate::proxy::failure::{Failure, Side};

    /// A POST that went out on a fresh connection and was reset; attempts are left.
    const POST: Attempt = Attempt {
        failure: Failure::Reset,
        sent: true,
        idempotent: false,
        retry_unsafe: false,
        kept: true,
        reused: false,
        renewed: false,
        answered: false,
        made: 1,
        most: 3,
    };
    const FREE: Again = Again::Another { paid: false };
    const PAID: Again = Again::Another { paid: true };

    #[test]
    fn the_table() {
        let get = Attempt { idempotent: true, ..POST };
        let unsent = Attempt { sent: false, failure: Failure::Connect, ..POST };
        for (what, attempt, expected) in [
            ("a POST that was sent", POST, Again::No),
            ("a POST that was never sent", unsent, FREE),
            ("a POST where the route allows it", Attempt { retry_unsafe: true, ..POST }, PAID),
            ("a GET", get, PAID),
            ("a GET too slow", Attempt { failure: Failure::FirstByte, ..get }, PAID),
            ("a GET after a byte of its answer", Attempt { answered: true, ..get }, Again::No),
            ("a GET whose body is gone", Attempt { kept: false, ..get }, Again::No),
            ("the last attempt", Attempt { made: 3, ..get }, Again::No),
            ("one attempt only", Attempt { most: 1, ..get }, Again::No),
            ("a GET on an old connection", Attempt { reused: true, ..get }, Again::Renewed),
            (
                "a GET on an old connection, one attempt only",
                Attempt { reused: true, most: 1, ..get },
                Again::Renewed,
            ),
            ("the same after a renewal", Attempt { reused: true, renewed: true, ..get }, PAID),
            (
                "an unsent POST on an old connection",
                Attempt { reused: true, sent: false, ..POST },
                Again::Renewed,
            ),
            ("a sent POST on an old connection", Attempt { reused: true, ..POST }, Again::No),
            (
                "an old connection that is silent",
                Attempt { reused: true, failure: Failure::FirstByte, ..get },
                PAID,
            ),
            ("an instance that is the gateway", Attempt { failure: Failure::Loop, ..unsent }, FREE),
            ("a service without room", Attempt { failure: Failure::QueueFull, ..unsent }, Again::No),
        ] {
            assert_eq!(again(&attempt), expected, "{what}");
        }
    }

    #[test]
    fn no_failure_of_a_client_is_ever_repeated() {
        for failure in Failure::ALL.iter().filter(|failure| failure.side() == Side::Client) {
            let attempt = Attempt { failure: *failure, sent: false, idempotent: true, reused: true, ..POST };
            assert_eq!(again(&attempt), Again::No, "{failure:?}");
        }
    }
}
