//! What must hold for hours and under attack, shown with the real daemon, real clients and real instances over loopback.
//! A new test goes to the file that names what it shows.
//!
//! - `streams`: live streams of every kind beside random edits of other objects; drains of what they stand on, and stops
//! - `gone`: a client that goes away, in every phase of a request
//! - `stalled`: instances that stop in every phase of an answer
//! - `events`: events that arrive before the next is sent, and what the gateway adds to their delay
//! - `overload`: four times as much of everything as the gateway is set to take
//! - `smuggling`: hostile requests (`tests/corpus`) in front of nginx, HAProxy and servers that read them otherwise
//!
//! Tests take the size that a pull request can wait for; `GATEWAY_ENDURE=full`, which `cargo xtask endure` sets, gives
//! them the whole one. `GATEWAY_SEED` repeats a random run. No time is asserted but generous ceilings, unless the size is
//! full: then the machine is quiet.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests panic where they fail and print what they measured, also in the functions that they share"
)]

mod control;
mod events;
mod figures;
mod gone;
mod link;
mod overload;
mod scene;
mod size;
mod smuggling;
mod stalled;
mod streams;
