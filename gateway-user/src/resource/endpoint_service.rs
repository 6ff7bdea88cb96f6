//! Pure: a platform service that endpoints in private networks lead to, as operators write it.

use serde::{Deserialize, Serialize};

use super::{Host, clip, gateway::default_name};
use crate::base::{Name, Refusal};

/// What stands for the region in a template.
const REGION_PLACE: &str = "{region}";
/// Longest template and longest name made of it.
const MAX_TEMPLATE: usize = 253;
/// Most regions of one service.
const MAX_REGIONS: usize = 64;

/// A registered service: what it is called in each region, where it is offered, and what answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointService {
    pub name: Name,
    #[serde(default = "default_name")]
    pub gateway: Name,
    /// The service's name, `com.example.privatelink.{region}.dsw`.
    pub service_name: String,
    /// The host name that clients use, `dsw-vpc.{region}.example.com`.
    pub dns: String,
    /// Where it is offered; empty: everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Name>,
    /// The service of the gateway that answers.
    pub service: Name,
    /// Certificate for the host names.
    #[serde(default, alias = "certificate", skip_serializing_if = "Option::is_none")]
    pub cert: Option<Name>,
}

// === impl EndpointService ===

impl EndpointService {
    /// Checks what can be checked of it alone.
    ///
    /// # Errors
    /// Names the field that is refused.
    pub fn validate(&self) -> Result<(), Refusal> {
        template("service_name", &self.service_name)?;
        template("dns", &self.dns)?;
        if self.regions.len() > MAX_REGIONS {
            return Err(Refusal::new("limit", "too many regions for one endpoint service")
                .field("regions", self.regions.len())
                .limit(MAX_REGIONS)
                .remedy("leave the list out: then it is offered everywhere"));
        }
        for (index, region) in self.regions.iter().enumerate() {
            if self.regions.iter().take(index).any(|earlier| earlier == region) {
                return Err(Refusal::new("duplicate", "the region is given twice")
                    .field("regions", region)
                    .remedy("give it once"));
            }
            self.host(region)?;
            self.full_name(region)?;
        }
        Ok(())
    }

    /// Whether it is offered in `region`.
    #[must_use]
    pub fn offered_in(&self, region: &str) -> bool {
        self.regions.is_empty() || self.regions.iter().any(|one| one.as_str() == region)
    }

    /// The host name that clients in `region` use.
    ///
    /// # Errors
    /// The template and the region make no host name.
    pub fn host(&self, region: &str) -> Result<Host, Refusal> {
        made("dns", &self.dns, region)
    }

    /// The service's name in `region`.
    ///
    /// # Errors
    /// The template and the region make a name that is too long.
    pub fn full_name(&self, region: &str) -> Result<String, Refusal> {
        // A service's name has the form of a host name, read from the other end.
        made("service_name", &self.service_name, region).map(|name| name.as_str().to_owned())
    }
}

/// Checks a template with the shortest region that there can be.
fn template(field: &str, text: &str) -> Result<(), Refusal> {
    let refused = |why: &str| {
        Refusal::new("invalid_template", why)
            .field(field, clip(text))
            .limit("labels of letters, digits and hyphens separated by dots, `{region}` for the region")
    };
    if text.len() > MAX_TEMPLATE {
        return Err(refused("the template is too long").limit(format_args!("{MAX_TEMPLATE} characters")));
    }
    if text.matches(REGION_PLACE).count() > 1 {
        return Err(refused("the template has the region twice").remedy("write `{region}` once"));
    }
    if text.replace(REGION_PLACE, "").contains(['{', '}']) {
        return Err(
            refused("`{region}` is the only place in a template").remedy("write it like `svc.{region}.org`")
        );
    }
    made(field, text, "r").map(drop)
}

fn made(field: &str, template: &str, region: &str) -> Result<Host, Refusal> {
    let name = template.replace(REGION_PLACE, region);
    let refused = |why: &str| {
        Refusal::new("invalid_template", format_args!("this template makes `{}`: {why}", clip(&name)))
            .field(field, clip(template))
            .limit("a host name as RFC 1123 has it")
            .remedy("write it like `svc.{region}.example.org`")
    };
    let host: Host = name.parse().map_err(|refusal: Refusal| refused(&refusal.message))?;
    if host.is_wildcard() || !host.as_str().contains('.') {
        return Err(refused("a full name is needed, without `*`"));
    }
    Ok(host)
}
