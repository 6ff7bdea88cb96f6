//! Bytes between sockets and protocols: blocks that a worker lends out, and a client's stream with or without TLS.
//!
//! Knows nothing of HTTP. A connection that waits holds no block: that is what makes an idle one cheap.

mod block;
mod outbox;
mod stream;

pub(crate) use block::{BLOCK, Block, Blocks};
pub(crate) use outbox::Outbox;
pub(crate) use stream::Stream;
