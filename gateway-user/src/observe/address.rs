//! Pure: what became of the addresses that the gateway holds on interfaces.

use serde::Serialize;

/// One address of the configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressStatus {
    pub interface: String,
    /// With the length of its prefix.
    pub address: String,
    pub state: AddressState,
    /// Why it is not held, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether an interface has the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressState {
    /// The gateway added it and will remove it.
    Held,
    /// Somebody else added it: it serves, and the gateway never removes it.
    Foreign,
    /// There is no such interface now.
    Waiting,
    /// The kernel refused it; it is tried again every second.
    Failed,
}

impl AddressState {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Foreign => "foreign",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }
}
