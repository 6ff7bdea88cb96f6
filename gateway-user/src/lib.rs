//! The gateway daemon and its command line, room by room, in reading order:
//!
//! [`resource`] (what operators write) → [`control`] (store, compile, publish) → [`snapshot`] (what the data path
//! reads) → [`kernel`] (the XDP filter), [`proxy`] (TLS, HTTP, routing) and [`dns`] (names), wired by [`app`]; spoken to through
//! [`api`] and [`cli`]; observed through [`observe`].
//!
//! Which room may use which is a table in `xtask/src/tidy/layers.rs`, enforced by a test.

pub mod base;

pub mod api;

pub mod app;

pub mod cli;

pub mod observe;

pub mod settings;

pub mod resource;

pub mod control;
pub mod defence;

pub mod kernel;

pub mod snapshot;

pub mod proxy;

pub mod dns;
