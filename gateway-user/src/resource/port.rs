//! Pure: a port that can be switched off. TOML has no null, so "no port" is `false` in both forms.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::read::carry;
use crate::base::Refusal;

/// Writes the port, or `false`.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(port: &Option<u16>, serializer: S) -> Result<S::Ok, S::Error> {
    match port {
        Some(port) => port.serialize(serializer),
        None => false.serialize(serializer),
    }
}

/// Reads a port, `false` or null.
///
/// # Errors
/// Not a port.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Off(bool),
        Port(i64),
        Null(()),
    }
    let refused = |value: &dyn std::fmt::Display| {
        let refusal = Refusal::new("invalid_port", "this is not a TCP port")
            .field("port", value)
            .limit("1 to 65535")
            .remedy("give a port, or false for none");
        Err(D::Error::custom(carry(&refusal)))
    };
    match Form::deserialize(deserializer)? {
        Form::Off(false) | Form::Null(()) => Ok(None),
        Form::Off(true) => refused(&true),
        Form::Port(number) => match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(Some(port)),
            Ok(_) | Err(_) => refused(&number),
        },
    }
}
