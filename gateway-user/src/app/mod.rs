//! The composition root: the only place that sees all rooms.

mod daemon;
mod defence;
mod liveness;
mod parts;
mod privileges;
mod shared;
mod sources;

use std::process::ExitCode;

use serde_json::json;

use crate::{cli, kernel, settings::Settings};

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// It could not start.
pub fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    daemon::run(&settings)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks what the filter needs of this host, and prints the cure for what is missing.
///
/// # Errors
/// None today; the signature is that of its siblings.
pub fn doctor(settings: &Settings, interface: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let mut checks = kernel::probe(&daemon::filter_config(settings));
    if let Some(interface) = interface {
        // Checks of an interface are named after it; those of the host concern every interface.
        checks.retain(|check| check.check.split_once(' ').is_none_or(|(_, name)| name == interface));
    }
    let healthy = checks.iter().all(|check| check.ok);
    if json {
        cli::print_json(&json!({ "ok": healthy, "checks": checks }));
    } else {
        let mut text = String::new();
        for check in &checks {
            let mark = match check.level {
                kernel::Level::Ok => "ok  ",
                kernel::Level::Note => "note",
                kernel::Level::Fail => "FAIL",
            };
            text.push_str(&format!("{mark}  {:<28} {}\n", check.check, check.detail));
            if let Some(cure) = &check.cure {
                text.push_str(&format!("      cure: {cure}\n"));
            }
        }
        cli::print_text(&text);
    }
    Ok(if healthy { ExitCode::SUCCESS } else { cli::REFUSED.into() })
}

/// Takes the filter off, and the gateway's addresses, which would be open without it.
///
/// # Errors
/// A daemon runs, or a pin could not be removed.
pub fn detach(settings: &Settings, interface: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let removed = kernel::release(&settings.state, interface)?;
    let done = kernel::detach(&settings.pin_dir, interface)?;
    if json {
        let changed = !done.devices.is_empty() || done.layouts > 0 || !removed.is_empty();
        cli::print_json(&json!({ "changed": changed, "detached": done, "addresses": removed }));
        return Ok(ExitCode::SUCCESS);
    }
    if !removed.is_empty() {
        cli::print_text(&format!(
            "Removed {}, which the gateway had added; the daemon adds them again when it starts.\n",
            removed.join(", ")
        ));
    }
    if done.devices.is_empty() {
        cli::print_text("No filter was attached.\n");
    } else {
        cli::print_text(&format!(
            "Detached from {}. Connections are checked at accept only, until the daemon starts again.\n",
            done.devices.join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
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
