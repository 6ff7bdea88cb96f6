//! Pure: the declarative form of the whole configuration. What it does not have does not exist after `apply`.

use serde::{Deserialize, Serialize};

use crate::{
    base::Refusal,
    resource::{
        Account, Certificate, Domain, Endpoint, EndpointService, Gateway, Listener, Route, Service, Vpc,
        from_toml,
    },
};

/// A whole configuration: `[[listener]]`, `[[account]]`, `[[vpc]]`, `[[certificate]]`, `[[domain]]`, `[[service]]`, `[[route]]`,
/// `[[endpoint_service]]`, `[[endpoint]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateway: Vec<Gateway>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listener: Vec<Listener>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub account: Vec<Account>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vpc: Vec<Vpc>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate: Vec<Certificate>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domain: Vec<Domain>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service: Vec<Service>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<Route>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoint_service: Vec<EndpointService>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoint: Vec<Endpoint>,
}

impl Document {
    /// Reads the TOML form.
    ///
    /// # Errors
    /// Not TOML, an unknown key, or a value that is refused; the refusal names the line.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        from_toml(text)
    }

    /// The TOML form.
    ///
    /// # Errors
    /// Never for a document that was read or exported; TOML cannot write some values.
    pub fn text(&self) -> Result<String, Refusal> {
        toml::to_string(self)
            .map_err(|error| Refusal::new("internal", format_args!("cannot write TOML: {error}")))
    }
}
