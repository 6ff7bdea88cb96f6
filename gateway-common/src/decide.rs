//! The access decision.
