//! Pure: service tokens. Only their SHA-256 is kept; the secret itself is shown once.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::read::text_form;
use crate::base::Refusal;

/// Longest token in bytes; it must fit a header line with room to spare.
pub const MAX_LENGTH: usize = 512;

/// A token in plain text, on its way in or out. Never stored, never in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// SHA-256 of a token, `sha256:` and 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// A short name of a secret that does not help to guess it: `fp:` and 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

/// A token as the store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub hash: TokenHash,
    /// Seconds since the Unix epoch.
    pub created: u64,
}

// === impl Secret ===

impl Secret {
    /// Takes a token that the caller chose. A trailing newline (of a file) is not part of it.
    ///
    /// # Errors
    /// Empty, too long, or with characters that a header value cannot carry.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        // The value stays out of the refusal: it is, or resembles, a secret.
        let refused = |why: &str| {
            Refusal::new("invalid_token", why)
                .field("token", "(not shown)")
                .limit(format_args!("1 to {MAX_LENGTH} visible ASCII characters without spaces"))
                .remedy("choose another, or leave it out to get one made")
        };
        if text.is_empty() {
            return Err(refused("the token is empty"));
        }
        if text.len() > MAX_LENGTH {
            return Err(refused("the token is too long"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused("the token has characters that a header cannot carry unchanged"));
        }
        Ok(Self(text.to_owned()))
    }

    /// A token of 256 random bits.
    #[must_use]
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        Self(hex(bytes))
    }

    /// The plain text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(sha256(self.0.as_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

// === impl TokenHash ===

impl TokenHash {
    /// The name that export, status and refusals use for the token.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(b"gateway token", &self.0)
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", hex(&self.0))
    }
}

impl FromStr for TokenHash {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let bytes = text.strip_prefix("sha256:").and_then(unhex);
        bytes.map(Self).ok_or_else(|| {
            Refusal::new("invalid_token", "this is not a token's hash")
                .field("token_hash", "(not shown)")
                .limit("`sha256:` and 64 hex digits")
                .remedy("take it from `export --with-secrets`")
        })
    }
}

text_form!(TokenHash);

// === impl Fingerprint ===

impl Fingerprint {
    /// The fingerprint of a secret of one sort.
    #[must_use]
    pub fn of(sort: &[u8], secret: &[u8]) -> Self {
        let digest = sha256(&[sort, b"\0", secret].concat());
        let (short, _) = digest.split_at(8);
        Self(format!("fp:{}", hex(short)))
    }

    /// The fingerprint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for Fingerprint {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let good = |hex: &&str| hex.len() == 16 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.strip_prefix("fp:").filter(good) {
            Some(hex) => Ok(Self(format!("fp:{}", hex.to_ascii_lowercase()))),
            None => Err(Refusal::new("invalid_fingerprint", "this is not a fingerprint")
                .field("fingerprint", super::clip(text))
                .limit("`fp:` and 16 hex digits")
                .remedy("take it from `export`")),
        }
    }
}

text_form!(Fingerprint);

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(out)
}
