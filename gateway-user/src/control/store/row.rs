//! Pure: a row's bytes: eight bytes of SHA-256, then JSON. redb checks its pages after a crash only; this checks always.

use aws_lc_rs::digest;
use serde::{Serialize, de::DeserializeOwned};

use super::error::Fault;

const SUM: usize = 8;

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Fault::corrupt(format_args!("cannot write a row: {error}")))?;
    Ok(seal(&json))
}

pub(super) fn decode<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Fault> {
    let json = open(name, bytes)?;
    serde_json::from_slice(json)
        .map_err(|error| Fault::corrupt(format_args!("row `{name}` does not read: {error}")))
}

pub(super) fn seal(content: &[u8]) -> Vec<u8> {
    [sum(content).as_slice(), content].concat()
}

pub(super) fn open<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
    match bytes.split_at_checked(SUM) {
        Some((held, content)) if held == sum(content) => Ok(content),
        Some(_) | None => Err(Fault::corrupt(format_args!("row `{name}` has a wrong checksum"))),
    }
}

fn sum(content: &[u8]) -> [u8; SUM] {
    let mut out = [0; SUM];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, content).as_ref()) {
        *to = *from;
    }
    out
}
