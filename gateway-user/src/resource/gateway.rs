//! Pure: a gateway, the unit that listeners and services belong to.

use serde::{Deserialize, Serialize};

use crate::base::Name;

/// The gateway that always exists.
pub const DEFAULT: &str = "default";

/// A named unit with its own listeners and services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    pub name: Name,
}

/// The name of the gateway that always exists.
#[must_use]
pub fn default_name() -> Name {
    #[expect(clippy::expect_used, reason = "a constant that a test checks")]
    Name::new(DEFAULT).expect("a good name")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_gateways_name_is_a_name() {
        assert_eq!(super::default_name().as_str(), super::DEFAULT);
    }
}
