//! The data plane: listeners, TLS, HTTP, routing, tokens, throttles, instances.
//!
//! One thread per core, each with its own runtime, sockets (`SO_REUSEPORT`), connections and upstream pools; between
//! workers there are only atomics and immutable views. `control` builds a [`view::View`] of a snapshot and hands it to
//! every [`worker`]; `http::exchange` runs each request through `http::pipeline` and on to `upstream`.

mod auth;
mod budget;
mod config;
mod control;
mod encode;
pub mod failure;
mod forwarded;
#[doc(hidden)]
pub mod fuzzing;
mod h1;
mod http;
mod io;
mod listener;
mod memory;
mod proxy_protocol;
mod rate;
mod route;
mod sites;
mod sse;
pub mod stage;
mod throttle;
mod tls;
mod upstream;
mod view;
mod worker;

pub use config::{Closed, Config, Limits, UnknownSni};
pub use control::{Cutter, ListenerStatus, Proxy};
