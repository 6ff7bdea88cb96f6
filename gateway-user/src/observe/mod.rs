//! What operators see: reports and records that the rooms fill and the API, the metrics and the log show.

pub mod filter;
pub mod log;
