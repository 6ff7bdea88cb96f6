//! Suite `conformance`: the gateway's protocols as outside programs judge them, through the real daemon on loopback.
//!
//! The judges are Python programs beside these files, with packages that `cargo xtask setup` installs below
//! `target/tools`: hyperframe and hpack as frame tool, grpcio, Autobahn. Where a new test goes:
//! - `stage`: not tests; a daemon, instances behind it, and how a judge is called.
//! - `http2`: the table of HTTP/2 cases (`h2/cases.py`), all 146 of the usual suite.
//! - `floods`: attacks on HTTP/2 replayed (`h2/floods.py`), and what they cost.
//! - `grpc`: gRPC's interop cases, and what the gateway promises besides (`grpc/interop.py`).
//! - `websocket`: Autobahn's fuzzing client, through the gateway and directly.

mod floods;
mod grpc;
mod http2;
mod stage;
mod websocket;
