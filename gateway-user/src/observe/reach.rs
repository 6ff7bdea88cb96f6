//! Pure: whether attached networks can be reached.

use crate::base::Name;

/// One network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachability {
    pub vpc: Name,
    pub reachable: bool,
    /// Why not.
    pub detail: Option<String>,
}
