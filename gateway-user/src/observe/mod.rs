//! What operators see: reports and records that the rooms fill and the API, the metrics and the log show.

pub mod access;
pub mod address;
pub mod dns;
pub mod filter;
pub mod instances;
pub mod liveness;
pub mod load;
pub mod log;
pub mod metrics;
pub mod reach;
pub mod seen;
pub mod top;
pub mod traffic;
