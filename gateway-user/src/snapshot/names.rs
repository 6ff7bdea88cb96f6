//! Pure: the DNS names that the gateway makes for its own objects, in one place for those who show and who answer them.
//!
//! All of them live below `<region>.<dns_zone>` (of the settings); without a zone there are no names.

use crate::base::{Name, Site};

/// The region in names where the settings set none.
pub const LOCAL_REGION: &str = "local";

/// Longest label and longest name (RFC 1035 §2.3.4), the name without its last dot.
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;

/// The region that names carry.
#[must_use]
pub fn region(site: &Site) -> &str {
    site.region.as_deref().unwrap_or(LOCAL_REGION)
}

/// Makes the names of one site.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    region: &'a str,
    zone: &'a str,
}

// === impl Names ===

impl<'a> Names<'a> {
    /// `None` where the settings name no zone.
    #[must_use]
    pub fn of(site: &'a Site) -> Option<Self> {
        Some(Self { region: region(site), zone: site.dns_zone.as_deref()? })
    }

    /// The name that people are given for a gateway's public portal.
    #[must_use]
    pub fn gateway_public(&self, gateway: &Name) -> String {
        format!("gw-{gateway}.{}.{}", self.region, self.zone)
    }

    /// Where [`Self::gateway_public`] leads by CNAME; it has the addresses of the public listeners.
    #[must_use]
    pub fn gateway_balancer(&self, gateway: &Name) -> String {
        format!("nlb-{gateway}.{}.{}", self.region, self.zone)
    }

    /// The name that clients in any private network use. Each network resolves it to its own endpoint.
    #[must_use]
    pub fn gateway_private(&self, gateway: &Name) -> String {
        format!("gw-{gateway}-vpc.{}.{}", self.region, self.zone)
    }

    /// Where [`Self::gateway_private`] leads by CNAME within one private network; it has the network's address.
    #[must_use]
    pub fn vpc_endpoint(&self, vpc: &Name, gateway: &Name) -> String {
        format!("ep-{vpc}.epsrv-{gateway}.{}.privatelink.{}", self.region, self.zone)
    }

    /// The instances of a service, for clients that go past the gateway.
    #[must_use]
    pub fn service_direct(&self, service: &Name, gateway: &Name) -> String {
        format!("{service}.direct-{gateway}.{}.{}", self.region, self.zone)
    }
}

/// Whether DNS can carry the name: a long network or region makes names that are too long, and those have no record.
#[must_use]
pub fn fits(name: &str) -> bool {
    name.len() <= MAX_NAME && name.split('.').all(|label| (1..=MAX_LABEL).contains(&label.len()))
}

#[cfg(test)]
mod tests {
    use super::{Names, fits};
    use crate::base::{Name, Site};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn names_are_made_below_region_and_zone() {
        let site =
            Site { region: Some(name("eu-1")), dns_zone: Some("gw.example".to_owned()), ..Site::default() };
        let names = Names::of(&site).unwrap();
        let gateway = name("default");
        assert_eq!(names.gateway_public(&gateway), "gw-default.eu-1.gw.example");
        assert_eq!(names.gateway_balancer(&gateway), "nlb-default.eu-1.gw.example");
        assert_eq!(names.gateway_private(&gateway), "gw-default-vpc.eu-1.gw.example");
        assert_eq!(
            names.vpc_endpoint(&name("s1"), &gateway),
            "ep-s1.epsrv-default.eu-1.privatelink.gw.example"
        );
        assert_eq!(names.service_direct(&name("chat"), &gateway), "chat.direct-default.eu-1.gw.example");
    }

    #[test]
    fn without_a_region_names_are_local_and_without_a_zone_there_are_none() {
        let site = Site { dns_zone: Some("gw.example".to_owned()), ..Site::default() };
        let public = Names::of(&site).unwrap().gateway_public(&name("default"));
        assert_eq!(public, "gw-default.local.gw.example");
        assert!(Names::of(&Site::default()).is_none());
    }

    #[test]
    fn names_that_dns_cannot_carry_do_not_fit() {
        assert!(fits("ep-a.epsrv-default.local.privatelink.gw.example"));
        assert!(!fits(&format!("ep-{}.example", "x".repeat(61))));
        assert!(!fits(&vec!["x".repeat(50); 5].join(".")));
        assert!(!fits("a..b"));
    }
}
