//! Pure: what operators write, one file per kind. JSON (control socket) and TOML (declarative files) have one form.
//!
//! Every type checks what can be checked of it alone, while it is read: a value of these types has a good form. What
//! needs the other resources (references, duplicates, limits) is checked by `control::state`, the only mutator.

pub mod account;
pub mod address;
pub mod allowlist;
pub mod certificate;
pub mod domain;
pub mod duration;
pub mod endpoint;
pub mod endpoint_service;
pub mod exposure;
pub mod gateway;
pub mod host;
pub mod limits;
pub mod listener;
pub mod patch;
pub mod port;
mod range;
pub mod read;
pub mod route;
pub mod service;
pub mod size;
pub mod token;
pub mod upstream;
pub mod vpc;

pub use account::{Account, Grant};
pub use address::Address;
pub use allowlist::Allowlist;
pub use certificate::Certificate;
pub use domain::Domain;
pub use endpoint::{Endpoint, Subnet};
pub use endpoint_service::EndpointService;
pub use exposure::Exposure;
pub use gateway::Gateway;
pub use host::Host;
pub use limits::Limits;
pub use listener::Listener;
pub use patch::{Patch, Patched};
pub use read::{from_json, from_toml};
pub use route::{Mirror, Route, WeightedService};
pub use service::{Protocol, Service, Timeouts};
pub use token::{Secret, Token};
pub use upstream::Instance;
pub use vpc::Vpc;

#[cfg(test)]
mod tests;

use crate::base::{Name, Refusal};

/// The kinds of resources, by the words of the CLI, the API and the declarative files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Gateway,
    Listener,
    Account,
    Vpc,
    Certificate,
    Domain,
    Service,
    Route,
    EndpointService,
    Endpoint,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Listener => "listener",
            Self::Account => "account",
            Self::Vpc => "vpc",
            Self::Certificate => "certificate",
            Self::Domain => "domain",
            Self::Service => "service",
            Self::Route => "route",
            Self::EndpointService => "endpoint_service",
            Self::Endpoint => "endpoint",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.word())
    }
}

/// A name given as text, refused with the field it came from.
///
/// # Errors
/// The text is not a name.
pub fn name(field: &str, text: &str) -> Result<Name, Refusal> {
    Name::new(text).map_err(|_| invalid_name(field, text))
}

/// The name of a listener given as text; `vpc:NAME` is a private network's.
///
/// # Errors
/// The text is not such a name.
pub fn listener_name(field: &str, text: &str) -> Result<Name, Refusal> {
    Name::of_listener(text).map_err(|_| invalid_name(field, text))
}

fn invalid_name(field: &str, text: &str) -> Refusal {
    Refusal::new("invalid_name", format_args!("`{}` is not a name", clip(text)))
        .field(field, clip(text))
        .limit("1 to 63 characters a-z, 0-9 and `-`, beginning with a letter or a digit")
        .remedy("choose a name of this form")
}

/// A value as it is shown in a refusal: no control characters, no more than 80 characters.
#[must_use]
pub fn clip(value: &str) -> String {
    let mut shown: String =
        value.chars().take(80).map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect();
    if value.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}
