//! Pure: names of resources.

use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};

/// A resource's name: `[a-z0-9][a-z0-9-]{0,62}` (DESIGN §7.12). Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Longest name in bytes, the limit of a DNS label (RFC 1035 §2.3.4).
pub const MAX_LENGTH: usize = 63;

/// What the name of a private network's listener begins with.
const VPC: &str = "vpc:";
/// What the names of an endpoint's listeners begin with.
const ENDPOINT: &str = "endpoint:";

/// A text that is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: use 1 to 63 characters a-z, 0-9 and `-`, beginning with a letter or a digit")]
pub struct InvalidName(pub String);

impl Name {
    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// The text is empty, longer than [`MAX_LENGTH`], or has a character outside `[a-z0-9-]`, or begins with `-`.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > MAX_LENGTH || text.starts_with('-') || !text.bytes().all(allowed) {
            return Err(InvalidName(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The name of a private network's listener: `vpc:NAME`. No other resource can have a name of this form.
    #[must_use]
    pub fn of_vpc_listener(vpc: &Self) -> Self {
        Self(format!("{VPC}{vpc}").into())
    }

    /// The name of an endpoint's listener: `endpoint:NAME`, or `endpoint:NAME:ZONE` on its further interfaces.
    #[must_use]
    pub fn of_endpoint_listener(endpoint: &Self, zone: Option<&Self>) -> Self {
        match zone {
            None => Self(format!("{ENDPOINT}{endpoint}").into()),
            Some(zone) => Self(format!("{ENDPOINT}{endpoint}:{zone}").into()),
        }
    }

    /// Checks the name of a listener, which may be that of a private network's, `vpc:NAME`, or of an endpoint's.
    ///
    /// # Errors
    /// What is given, or what follows the prefix, is not a name.
    pub fn of_listener(text: &str) -> Result<Self, InvalidName> {
        if let Some(vpc) = text.strip_prefix(VPC) {
            return Self::new(vpc).map(|vpc| Self::of_vpc_listener(&vpc));
        }
        let Some(endpoint) = text.strip_prefix(ENDPOINT) else { return Self::new(text) };
        let (endpoint, zone) = match endpoint.split_once(':') {
            Some((endpoint, zone)) => (endpoint, Some(Self::new(zone)?)),
            None => (endpoint, None),
        };
        Ok(Self::of_endpoint_listener(&Self::new(endpoint)?, zone.as_ref()))
    }

    /// The private network whose listener has this name.
    #[must_use]
    pub fn vpc(&self) -> Option<&str> {
        self.0.strip_prefix(VPC)
    }

    /// The endpoint whose listener has this name.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        let rest = self.0.strip_prefix(ENDPOINT)?;
        rest.split(':').next()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_LENGTH, Name};

    #[test]
    fn the_listener_of_a_private_network_has_a_name_that_nothing_else_can_have() {
        let listener = Name::of_listener("vpc:s1").unwrap();
        assert_eq!(listener, Name::of_vpc_listener(&Name::new("s1").unwrap()));
        assert_eq!((listener.as_str(), listener.vpc()), ("vpc:s1", Some("s1")));
        assert_eq!(Name::of_listener("edge").unwrap().vpc(), None);
        for bad in ["vpc:", "vpc:vpc:a", "vpc:A", "public:a"] {
            assert!(Name::of_listener(bad).is_err(), "{bad}");
        }
        assert!(Name::new("vpc:s1").is_err());
        assert!(serde_json::from_str::<Name>("\"vpc:s1\"").is_err());
    }

    #[test]
    fn the_listeners_of_an_endpoint_are_named_by_it_and_a_zone() {
        let (endpoint, zone) = (Name::new("dsw").unwrap(), Name::new("b").unwrap());
        let first = Name::of_endpoint_listener(&endpoint, None);
        let second = Name::of_endpoint_listener(&endpoint, Some(&zone));
        assert_eq!((first.as_str(), first.endpoint()), ("endpoint:dsw", Some("dsw")));
        assert_eq!((second.as_str(), second.endpoint()), ("endpoint:dsw:b", Some("dsw")));
        assert_eq!(Name::of_listener("endpoint:dsw").unwrap(), first);
        assert_eq!(Name::of_listener("endpoint:dsw:b").unwrap(), second);
        assert!((first.vpc(), endpoint.endpoint()) == (None, None));
        for bad in ["endpoint:", "endpoint:a:", "endpoint:a:b:c", "endpoint:A"] {
            assert!(Name::of_listener(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn takes_exactly_the_documented_alphabet() {
        for good in ["a", "0", "a-b", "9z-", &"x".repeat(MAX_LENGTH)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "ä", "a b", &"x".repeat(MAX_LENGTH + 1)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }
}
