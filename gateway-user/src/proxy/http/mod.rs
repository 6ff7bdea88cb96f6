//! HTTP: serving connections, the request pipeline, the exchange with an instance.

pub(crate) mod body;
mod coded;
mod exchange;
mod fields;
mod frames;
mod guard;
mod h2;
pub(crate) mod head;
mod meter;
mod pipeline;
mod replay;
mod respond;
pub(crate) mod serve;
pub(crate) mod tunnel;
