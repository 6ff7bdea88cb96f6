//! HTTP/1.1 of our own, both sides: strict heads, bodies framed anew, one task for client and instance.
//!
//! `scan` finds the end of a head and `head` parses it; `judge` (in `http`) runs the stages on the borrowed view; `write`
//! makes the instance's head from it. `exchange` then drives `upload` and `download` until one side ends. `over_h2` is the
//! same towards instances that speak HTTP/2.

mod body;
mod chunked;
mod clock;
mod download;
mod exchange;
#[doc(hidden)]
pub(crate) mod fuzzing;
mod head;
mod over_h2;
mod scan;
mod serve;
mod tunnel;
mod upload;
mod write;

pub(crate) use body::Reader;
pub(crate) use chunked::chunk;
pub(crate) use head::{Response, room, trailers};
pub(crate) use over_h2::read_back;
pub(crate) use scan::{Found, Scan};
pub(crate) use serve::serve;
pub(crate) use upload::end_chunks;
pub(crate) use write::{ForInstance, begin_field, end_field, request};
