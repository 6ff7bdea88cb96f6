//! The name server: authoritative answers for the gateway's own names, and for custom domains inside private networks.
//!
//! Every private network has a view of its own, and the view of a query is that of the socket it came in by: each
//! network's endpoint has a UDP and a TCP socket on port 53, bound to the network's interface. Outsiders ask on the
//! addresses of the setting `dns`. [`answer`] is pure, from bytes to bytes; `server` moves them; `control` follows the
//! snapshots. Messages are read and written by hickory-dns; its server is not used, for it chooses zones by name alone.

mod answer;
mod control;
mod limit;
mod name;
mod report;
mod server;
mod socket;
mod view;

pub use control::{Config, Dns};

#[cfg(test)]
mod tests;
