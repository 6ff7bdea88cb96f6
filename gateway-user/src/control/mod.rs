//! The control plane: the only writer of the configuration.
//!
//! An [`Edit`] goes through `State::edit` (pure, the only mutator), `compile` (pure), the subscribers' `stage`, the
//! store, and the subscribers' `commit`, in this order. A failure anywhere leaves everything as it was. Everything is
//! synchronous and single-threaded; it lives in an `Rc<RefCell<Control>>` on the control runtime.

pub mod access;
pub mod change;
pub mod compile;
pub mod config;
pub mod diff;
pub mod document;
pub mod edit;
pub mod engine;
mod publish;
mod query;
pub mod state;
pub mod store;
pub mod view;

pub use access::{Caller, Loss};
pub use change::Change;
pub use config::{Config, FirstStart};
pub use document::Document;
pub use edit::{Edit, Issued, Options, Outcome};
pub use engine::Control;
pub use state::State;

#[cfg(test)]
mod tests;
