//! Pure: `memory`, `connections` and the table `[limits]`: what clients may hold and how long the gateway waits for them.
//!
//! The defaults are the proxy's own, with their reasons there.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use serde::Deserialize;

use crate::{
    base::Refusal,
    proxy::Limits,
    resource::{duration, size},
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// With less, a handful of requests would be all that fits.
const MEMORY: RangeInclusive<u64> = 16 * MIB..=1 << 50;
const CONNECTIONS: RangeInclusive<usize> = 1..=10_000_000;
/// The timers of connections are coarse: what is shorter than a second would end at chance.
const SHORT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
const LONG: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// Bytes per second. Faster than this, half of the world's clients would be too slow.
const RATE: RangeInclusive<u32> = 0..=1_000_000;
const SPARE: RangeInclusive<usize> = 0..=65_536;
const HANDSHAKES: RangeInclusive<usize> = 1..=1_000_000;
const HEAD_BYTES: RangeInclusive<u64> = 8 * KIB..=MIB;
const HEAD_FIELDS: RangeInclusive<usize> = 10..=1_000;

/// The table `[limits]`, key for key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    handshake: Option<String>,
    header: Option<String>,
    keep_alive: Option<String>,
    write_stall: Option<String>,
    answer_rate: Option<u32>,
    body_idle: Option<String>,
    body_rate: Option<u32>,
    upstream_idle: Option<String>,
    upstream_spare: Option<usize>,
    handshakes: Option<usize>,
    drain: Option<String>,
    head_bytes: Option<Size>,
    head_fields: Option<usize>,
}

/// A number of bytes, or a text like `2GiB`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Size {
    Bytes(u64),
    Text(String),
}

impl Table {
    /// The proxy's limits.
    pub(super) fn resolve(self, connections: Option<usize>) -> Result<Limits, Refusal> {
        let usual = Limits::default();
        let head_bytes = match self.head_bytes {
            None => usual.head_bytes,
            Some(size) => {
                let bytes = bytes("limits.head_bytes", &size, &HEAD_BYTES)?;
                usize::try_from(bytes).unwrap_or(usual.head_bytes)
            }
        };
        Ok(Limits {
            handshake: time("limits.handshake", self.handshake.as_deref(), usual.handshake, &SHORT)?,
            header: time("limits.header", self.header.as_deref(), usual.header, &SHORT)?,
            keep_alive: time("limits.keep_alive", self.keep_alive.as_deref(), usual.keep_alive, &LONG)?,
            write_stall: time("limits.write_stall", self.write_stall.as_deref(), usual.write_stall, &LONG)?,
            answer_rate: number("limits.answer_rate", self.answer_rate, usual.answer_rate, &RATE)?,
            body_idle: time("limits.body_idle", self.body_idle.as_deref(), usual.body_idle, &LONG)?,
            body_rate: number("limits.body_rate", self.body_rate, usual.body_rate, &RATE)?,
            upstream_idle: time(
                "limits.upstream_idle",
                self.upstream_idle.as_deref(),
                usual.upstream_idle,
                &LONG,
            )?,
            upstream_spare: number(
                "limits.upstream_spare",
                self.upstream_spare,
                usual.upstream_spare,
                &SPARE,
            )?,
            connections: number("connections", connections, usual.connections, &CONNECTIONS)?,
            handshakes: number("limits.handshakes", self.handshakes, usual.handshakes, &HANDSHAKES)?,
            drain: time("limits.drain", self.drain.as_deref(), usual.drain, &LONG)?,
            head_bytes,
            head_fields: number("limits.head_fields", self.head_fields, usual.head_fields, &HEAD_FIELDS)?,
        })
    }
}

/// The budget of bytes; `None`: the proxy's share of what this process may use.
pub(super) fn memory(size: Option<&Size>) -> Result<Option<u64>, Refusal> {
    size.map(|size| bytes("memory", size, &MEMORY)).transpose()
}

fn bytes(field: &str, size: &Size, range: &RangeInclusive<u64>) -> Result<u64, Refusal> {
    let (bytes, shown) = match size {
        Size::Bytes(bytes) => (*bytes, bytes.to_string()),
        Size::Text(text) => (size::parse(text).map_err(|refusal| named(field, refusal))?, text.clone()),
    };
    let text =
        |bytes: u64| if bytes < MIB { format!("{}KiB", bytes / KIB) } else { format!("{}MiB", bytes / MIB) };
    within(field, &bytes, range, &shown, text).map(|()| bytes)
}

fn time(
    field: &str,
    text: Option<&str>,
    usual: Duration,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, Refusal> {
    let Some(text) = text else { return Ok(usual) };
    let time = duration::parse(text).map_err(|refusal| named(field, refusal))?;
    within(field, &time, range, &text, duration::text).map(|()| time)
}

fn number<T: PartialOrd + Display + Copy>(
    field: &str,
    given: Option<T>,
    usual: T,
    range: &RangeInclusive<T>,
) -> Result<T, Refusal> {
    let Some(given) = given else { return Ok(usual) };
    within(field, &given, range, &given, |limit| limit).map(|()| given)
}

fn within<T: PartialOrd + Copy, Shown: Display>(
    field: &str,
    value: &T,
    range: &RangeInclusive<T>,
    shown: &dyn Display,
    text: impl Fn(T) -> Shown,
) -> Result<(), Refusal> {
    if range.contains(value) {
        return Ok(());
    }
    Err(Refusal::new("invalid_setting", "the value is out of range")
        .field(field, shown)
        .limit(format_args!("{} to {}", text(*range.start()), text(*range.end())))
        .remedy("leave it out for the default; docs/configuration.md says what it is for"))
}

/// A refusal of a value's form, by the setting's name.
fn named(field: &str, refusal: Refusal) -> Refusal {
    Refusal { code: "invalid_setting".to_owned(), field: Some(field.to_owned()), ..refusal }
}
