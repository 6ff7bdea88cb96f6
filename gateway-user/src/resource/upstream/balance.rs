//! Pure: which instance takes a request.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    base::Refusal,
    resource::{clip, read::text_form, route::is_token},
};

/// How an instance is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The one with fewer requests in flight (by weight) of two random ones.
    #[default]
    LeastRequest,
    /// In turn, by weight.
    RoundRobin,
    /// By a consistent hash: the same key to the same instance while it is there.
    Hash,
}

/// What a consistent hash is made from: `source`, `path` or `header:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    #[default]
    Source,
    /// The path of the request without the query.
    Path,
    /// A header, in lower case; the client's address where it is absent.
    Header(String),
}

/// Checks that what is hashed is said of a hash only.
pub(in crate::resource) fn check(balance: Balance, hash_on: Option<&HashKey>) -> Result<(), Refusal> {
    match (balance, hash_on) {
        (Balance::LeastRequest | Balance::RoundRobin, Some(key)) => {
            Err(Refusal::new("conflict", "only the balance `hash` hashes anything")
                .field("hash_on", key)
                .limit("balance = hash")
                .remedy("leave `hash_on` out, or set `balance` to hash"))
        }
        (Balance::Hash, _) | (_, None) => Ok(()),
    }
}

impl FromStr for HashKey {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text.split_once(':') {
            None if text == "source" => Ok(Self::Source),
            None if text == "path" => Ok(Self::Path),
            Some(("header", name)) if name.len() <= 128 && is_token(name) => {
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
            Some(_) | None => Err(Refusal::new("invalid_hash_key", "this is nothing to hash on")
                .field("hash_on", clip(text))
                .limit("source, path or header:NAME")
                .remedy("write it like header:x-session")),
        }
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => formatter.write_str("source"),
            Self::Path => formatter.write_str("path"),
            Self::Header(name) => write!(formatter, "header:{name}"),
        }
    }
}

text_form!(HashKey);
