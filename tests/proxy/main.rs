//! Suite `proxy`: what clients and instances see of the data plane, through the real daemon on loopback, filter off.
//!
//! Needs no root. Where a new test goes:
//! - `call`: not tests; a service behind the daemon and ways to call it.
//! - `order`: which check refuses first, and what a refusal looks like (DESIGN §5).
//! - `stream`: bodies and event streams that are not buffered; clients that go away.
//! - `pool`: instances, kept connections, dead instances.
//! - `overload`: a daemon that runs out of descriptors.
//! - `stop`: signals, readiness, what may finish.
//! - `stuck`: a worker that stands still.
//! - `smuggling`: requests that two parsers could read differently.
#![expect(clippy::expect_used, reason = "tests panic where they fail")]

mod call;
mod order;
mod overload;
mod pool;
mod smuggling;
mod stop;
mod stream;
mod stuck;
