//! The harness: everything a suite needs to run the real program against real packets.
//!
//! Order of reading: [`process`] (bounded child processes), [`netns`], [`topology`] (a small internet of namespaces) and
//! [`private`] (networks beside it), [`gateway`] (the daemon and its command line, [`frozen`] a thread of it) and [`desk`] (one without filter), then the two ends ([`client`], [`load`], [`upstream`],
//! [`ca`], [`anybody`]) and the witnesses ([`wire`], [`behind`], [`xdp`]) which [`proof`] joins into one verdict: who dropped it.
//!
//! The harness panics instead of returning errors, so that a failed test shows where it failed. Everything has a time
//! limit, every process is ended by its own id, and namespaces, mounts and pins go away with their guards.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a harness that cannot go on panics with a backtrace, as its tests do"
)]

pub mod anybody;
pub mod behind;
pub mod ca;
pub mod client;
pub mod desk;
pub mod flood;
pub mod frame;
pub mod frozen;
pub mod gateway;
pub mod load;
pub mod netns;
pub mod private;
pub mod process;
pub mod proof;
pub mod random;
pub mod scratch;
pub mod topology;
pub mod upstream;
pub mod wait;
pub mod wire;
pub mod xdp;

pub use ca::{Authority, Leaf};
pub use client::{Reach, curl, reach, reach_from};
pub use desk::Desk;
pub use gateway::{Gateway, Reply};
pub use netns::NetNs;
pub use private::Segment;
pub use topology::Net;
pub use upstream::Upstream;
