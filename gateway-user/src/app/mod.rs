//! The composition root: the only place that knows both ends of everything.

use std::process::ExitCode;

use serde_json::json;

use crate::{cli, settings::Settings};

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// It could not start.
pub fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    drop(settings);
    Err(anyhow::anyhow!("the daemon is not composed yet"))
}

/// Checks the host.
///
/// # Errors
/// The checks could not be made.
pub fn doctor(settings: &Settings, interface: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let _ = (settings, interface, json);
    Err(anyhow::anyhow!("the checks are not composed yet"))
}

/// Takes the filter off.
///
/// # Errors
/// A daemon runs, or a pin could not be removed.
pub fn detach(settings: &Settings, interface: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let _ = (settings, interface, json);
    Err(anyhow::anyhow!("the kernel room is not composed yet"))
}

/// Prints version and build.
#[must_use]
pub fn version(json: bool) -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        cli::print_json(&json!({ "version": version }));
    } else {
        cli::print_text(&format!("gateway {version}\n"));
    }
    ExitCode::SUCCESS
}
