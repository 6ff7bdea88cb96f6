//! HTTP: serving connections, the request pipeline, the exchange with an instance.

mod blocks;
pub(crate) mod body;
mod check;
pub(crate) mod coded;
pub(crate) mod exchange;
mod fields;
mod frames;
pub(crate) mod framing;
mod guard;
mod h2;
pub(crate) mod head;
pub(crate) mod hop;
mod hpack;
pub(crate) mod judge;
pub(crate) mod lease;
pub(crate) mod meter;
pub(crate) mod pipeline;
mod replay;
pub(crate) mod respond;
pub(crate) mod serve;
