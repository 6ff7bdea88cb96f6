//! Pure: a custom host name.

use serde::{Deserialize, Serialize};

use super::{Exposure, Host, gateway::default_name};
use crate::base::{Name, Refusal};

/// A custom host name bound to an exposure and, for HTTPS, a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    pub host: Host,
    #[serde(default = "default_name")]
    pub gateway: Name,
    pub exposure: Exposure,
    /// Name of a certificate.
    #[serde(default, alias = "certificate", skip_serializing_if = "Option::is_none")]
    pub cert: Option<Name>,
    /// Redirect plain HTTP to HTTPS.
    #[serde(default)]
    pub https_only: bool,
}

impl Domain {
    /// Checks what can be checked of a domain alone.
    ///
    /// # Errors
    /// Names the field that is refused.
    pub fn validate(&self) -> Result<(), Refusal> {
        let bound = match &self.exposure {
            Exposure::Public | Exposure::Vpc | Exposure::VpcNamed(_) => true,
            // An endpoint's host name comes from its service's template.
            Exposure::All | Exposure::Endpoint | Exposure::EndpointNamed(_) => false,
        };
        if !bound {
            return Err(Refusal::new("invalid_exposure", "a domain is bound to one access method")
                .field("exposure", &self.exposure)
                .limit("public, vpc or vpc:NAME")
                .remedy("say on which of them the domain answers"));
        }
        Ok(())
    }
}
