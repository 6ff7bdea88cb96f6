//! The log of the process: one subscriber, on stderr, as text for people or as JSON lines for collectors.
//!
//! stdout belongs to the answers of the command line.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::base::Refusal;

/// Installs the process-wide subscriber. `filter` is in `tracing` syntax (`info`, `gateway_user::proxy=debug`).
///
/// # Errors
/// The filter is not understood. A subscriber that is already installed stays and is no error.
pub fn start(filter: &str, json: bool) -> Result<(), Refusal> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Refusal::new("invalid_setting", format!("not a log filter: {error}"))
            .field("log", filter)
            .remedy("write for example `info` or `info,gateway_user::proxy=debug`")
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    // A second start in one process (tests) keeps the first subscriber.
    let _ = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init()
    } else {
        let colours = io::stderr().is_terminal();
        registry.with(fmt::layer().with_ansi(colours).with_target(false).with_writer(io::stderr)).try_init()
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_bad_filter_is_refused_by_name() {
        let refusal = super::start("info,=,=", false).unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some("log"));
    }
}
