//! The data plane in process, over loopback, without privileges: a real proxy, real TLS and HTTP clients, a real
//! instance. A new test goes to the file that names what it shows; what needs packets or the daemon belongs in `net`.
//!
//! - `refusals`: every row of the order of checks (DESIGN §5)
//! - `bodies`: limits, streaming both ways, abandoned requests
//! - `forwarding`: what an instance sees of a request, and a client of an answer
//! - `behind`: PROXY protocol, trusted forwarders
//! - `coding`: answers compressed, requests decompressed
//! - `balance`: weights, turns, hashes, connection reuse, dead instances
//! - `faults`: instances that are dead, stall or break, and what is tried again
//! - `health`: active checks of instances
//! - `mirror`: copies for another service
//! - `queue`: bounds on requests in flight, and who waits
//! - `tls`: certificate choice, change, 421
//! - `throttle`: rates over all workers
//! - `upstream_tls`: TLS towards instances, names with several addresses
//! - `changes`: edits under traffic, cuts, stops
//! - `protocols`: HTTP/2, gRPC, WebSocket
//! - `deadlines`: peers that are slow, stuck or silent
//! - `drains`: what may finish when an edit takes its listener or service away
//! - `overload`: no memory, no places
//! - `records`: access log, counters, metrics
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests panic where they fail, also in the functions that they share"
)]

mod balance;
mod behind;
mod bodies;
mod changes;
mod coding;
mod deadlines;
mod drains;
mod faults;
mod forwarding;
mod health;
mod mirror;
mod overload;
mod protocols;
mod queue;
mod records;
mod refusals;
mod support;
mod throttle;
mod tls;
mod upstream_tls;
