//! The control API: HTTP/1.1 and JSON over a unix socket.
//!
//! [`wire`] holds the messages, [`route`] the one table that dispatches requests and describes them in OpenAPI,
//! [`handler`] a file per kind of resource, [`server`] the socket, and [`client`] the other end, which the command line
//! uses. Nothing below this room is serialised to clients except resources, whose one form is that of the files.

pub mod client;
mod context;
mod handler;
mod nft;
mod openapi;
mod peer;
mod request;
mod route;
mod server;
mod socket;
pub mod wire;

pub use context::{Context, Process, SocketStatus, Sources};
pub use peer::Writers;
pub use server::serve;
pub use socket::bind;

#[cfg(test)]
mod tests;
