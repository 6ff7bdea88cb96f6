//! Pure: the closed set of changes.

use std::{collections::BTreeSet, time::Duration};

use ipnet::IpNet;
use serde::Serialize;

use super::{Caller, Change, Document, Loss};
use crate::{
    base::{Generation, Name},
    resource::{
        Account, Allowlist, Certificate, Domain, Endpoint, EndpointService, Grant, Host, Listener, Patch,
        Route, Secret, Service, Vpc,
    },
};

/// One change of the configuration.
#[derive(Clone, Debug)]
pub enum Edit {
    ListenerAdd(Listener),
    ListenerOpen {
        listener: Name,
    },
    ListenerClose {
        listener: Name,
    },
    ListenerUpdate {
        listener: Name,
        patch: Patch,
    },
    /// Lets what the allowlist would drop pass, and counts it, for so long; `None` ends that.
    Monitor {
        listener: Name,
        wait: Option<Duration>,
    },
    ListenerDelete {
        listener: Name,
    },
    AccountAdd(Account),
    /// Whether the account's networks may be attached although the site's `cross_account` is off.
    AccountUpdate {
        account: Name,
        cross_account: bool,
    },
    AccountDelete {
        account: Name,
    },
    GrantAdd {
        account: Name,
        grants: BTreeSet<Grant>,
    },
    /// The account's networks are torn down until it is granted again.
    GrantRemove {
        account: Name,
        grants: BTreeSet<Grant>,
    },
    VpcAdd(Vpc),
    VpcUpdate {
        vpc: Name,
        patch: Patch,
    },
    VpcDelete {
        vpc: Name,
    },
    /// With `replace` an existing one is changed in place.
    EndpointServiceAdd {
        service: EndpointService,
        replace: bool,
    },
    EndpointServiceDelete {
        service: Name,
    },
    EndpointAdd(Endpoint),
    EndpointDelete {
        endpoint: Name,
    },
    AllowAdd {
        listener: Name,
        cidrs: Allowlist,
    },
    /// Without `drain` live connections of the entries are cut; with it they may go on for that long.
    AllowRemove {
        listener: Name,
        cidrs: Allowlist,
        drain: Option<Duration>,
    },
    AllowSet {
        listener: Name,
        cidrs: Allowlist,
        allow_empty: bool,
    },
    /// With `replace` an existing certificate of that name is renewed in place.
    CertificateAdd {
        certificate: Certificate,
        replace: bool,
    },
    CertificateDelete {
        certificate: Name,
    },
    /// With `replace` an existing domain is changed in place (another certificate, exposure …).
    DomainAdd {
        domain: Domain,
        replace: bool,
    },
    DomainDelete {
        host: Host,
    },
    ServiceAdd(Box<Service>),
    ServiceUpdate {
        service: Name,
        patch: Patch,
    },
    ServiceDelete {
        service: Name,
    },
    /// A new token takes the place of all of the service's; `token` is one that the caller chose.
    TokenRotate {
        service: Name,
        token: Option<Secret>,
    },
    RouteAdd(Route),
    /// Replaces the route of that name.
    RouteReplace(Route),
    RouteUpdate {
        route: Name,
        patch: Patch,
    },
    RouteDelete {
        route: Name,
    },
    /// Replaces the whole configuration: what the document does not have is removed.
    Apply(Box<Document>),
    /// Goes back to what a generation had. Without `yes` it is refused when it would widen access.
    Rollback {
        generation: Generation,
        yes: bool,
    },
    /// Ends the monitoring whose time has come.
    EndMonitor {
        now: Duration,
    },
    /// Ends these drains: their time has come, or their last connection has ended.
    EndDrain {
        drains: Vec<(Name, IpNet)>,
    },
    /// Forgets the deleted private endpoints whose time is over.
    EndSilence {
        now: Duration,
    },
}

/// How a change is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Everything is checked, nothing is changed.
    pub dry_run: bool,
    /// User id of who asked; absent for the daemon itself.
    pub actor: Option<u32>,
    /// Undo the change after this time unless `Control::confirm` comes first.
    pub confirm: Option<Duration>,
    /// Where the remote shell of who asks comes from, so that nobody cuts off himself by mistake.
    pub caller: Option<Caller>,
    /// The caller accepts to be cut off.
    pub force: bool,
}

/// What a change did.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The generation in force after it.
    pub generation: Generation,
    /// Whether anything is (dry run: would be) different.
    pub changed: bool,
    /// The item that was changed, in the form of its `show`; null after a deletion.
    pub item: serde_json::Value,
    /// Tokens that were made, to be shown this once.
    #[serde(skip)]
    pub tokens: Vec<Issued>,
    pub diff: Vec<Change>,
    /// The change is undone unless it is confirmed by this time (seconds since the Unix epoch).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<u64>,
    /// Of a dry run: whom it would keep out.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// What else is to be known of it: what a rollback could not restore, a worker that does not take it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A token that was made for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub service: Name,
    pub token: Secret,
}

// === impl Edit ===

impl Edit {
    /// One line for the history.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::ListenerAdd(listener) => format!("listener add {}", listener.name),
            Self::ListenerOpen { listener } => format!("listener open {listener}"),
            Self::ListenerClose { listener } => format!("listener close {listener}"),
            Self::ListenerUpdate { listener, .. } => format!("listener update {listener}"),
            Self::Monitor { listener, wait: Some(wait) } => {
                format!("monitor {listener} --for {}s", wait.as_secs())
            }
            Self::Monitor { listener, wait: None } => format!("monitor {listener} --off"),
            Self::EndMonitor { .. } => "monitoring ended".to_owned(),
            Self::ListenerDelete { listener } => format!("listener delete {listener}"),
            Self::AccountAdd(account) => format!("account add {}", account.name),
            Self::AccountUpdate { account, cross_account } => {
                format!("account update {account} --cross-account {cross_account}")
            }
            Self::AccountDelete { account } => format!("account delete {account}"),
            Self::GrantAdd { account, grants } => format!("grant add {account} {}", words(grants)),
            Self::GrantRemove { account, grants } => format!("grant remove {account} {}", words(grants)),
            Self::VpcAdd(vpc) => format!("vpc add {}", vpc.name),
            Self::VpcUpdate { vpc, .. } => format!("vpc update {vpc}"),
            Self::VpcDelete { vpc } => format!("vpc delete {vpc}"),
            Self::EndpointServiceAdd { service, replace } => {
                let replace = if *replace { " --replace" } else { "" };
                format!("endpoint-service add {}{replace}", service.name)
            }
            Self::EndpointServiceDelete { service } => format!("endpoint-service delete {service}"),
            Self::EndpointAdd(endpoint) => format!("endpoint add {}", endpoint.name),
            Self::EndpointDelete { endpoint } => format!("endpoint delete {endpoint}"),
            Self::EndSilence { .. } => "deleted private endpoints are forgotten".to_owned(),
            Self::AllowAdd { listener, cidrs } => format!("allow add {listener} {}", some(cidrs)),
            Self::AllowRemove { listener, cidrs, drain } => match drain {
                None => format!("allow remove {listener} {}", some(cidrs)),
                Some(drain) => {
                    format!("allow remove {listener} {} --drain {}s", some(cidrs), drain.as_secs())
                }
            },
            Self::AllowSet { listener, cidrs, .. } => format!("allow set {listener} {}", some(cidrs)),
            Self::CertificateAdd { certificate, replace: false } => format!("cert add {}", certificate.name),
            Self::CertificateAdd { certificate, replace: true } => {
                format!("cert add {} --replace", certificate.name)
            }
            Self::CertificateDelete { certificate } => format!("cert delete {certificate}"),
            Self::DomainAdd { domain, replace: false } => format!("domain add {}", domain.host),
            Self::DomainAdd { domain, replace: true } => format!("domain add {} --replace", domain.host),
            Self::DomainDelete { host } => format!("domain delete {host}"),
            Self::ServiceAdd(service) => format!("service add {}", service.name),
            Self::ServiceUpdate { service, .. } => format!("service update {service}"),
            Self::ServiceDelete { service } => format!("service delete {service}"),
            Self::TokenRotate { service, .. } => format!("token rotate {service}"),
            Self::RouteAdd(route) => format!("route add {}", route.name),
            Self::RouteReplace(route) => format!("route update {}", route.name),
            Self::RouteUpdate { route, .. } => format!("route update {route}"),
            Self::RouteDelete { route } => format!("route delete {route}"),
            Self::Apply(_) => "apply".to_owned(),
            Self::Rollback { generation, .. } => format!("rollback {generation}"),
            Self::EndDrain { drains } => {
                let named = drains.iter().map(|(listener, cidr)| format!("{listener} {cidr}"));
                format!("drain ended: {}", named.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn words(grants: &BTreeSet<Grant>) -> String {
    grants.iter().map(|grant| grant.word()).collect::<Vec<_>>().join(" ")
}

/// The first entries of a list.
fn some(cidrs: &Allowlist) -> String {
    let mut text = cidrs.iter().take(4).map(|cidr| cidr.to_string()).collect::<Vec<_>>().join(",");
    if cidrs.len() > 4 {
        text.push_str(&format!(",… ({} entries)", cidrs.len()));
    }
    text
}
