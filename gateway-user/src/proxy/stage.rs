//! Pure: what a pipeline stage decides. Rooms above plug their own stages in by this type and [`Failure`].

use super::failure::Failure;

/// The outcome of one stage.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next stage decides.
    Continue,
    /// Answered by the gateway, with the seconds after which a retry makes sense (429).
    Refuse(Failure, Option<u64>),
    /// 308 to this location.
    Redirect(String),
}
