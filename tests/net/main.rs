//! Suite `net`: the real daemon behind real interfaces, in network namespaces. Needs root and fails loudly without.
//!
//! Where a new test goes:
//! - `harness_itself`: the witnesses see what happens, else they would prove everything.
mod harness_itself;
