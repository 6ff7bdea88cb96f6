//! Pure: what somebody could do in one state that nobody could in another.

use super::{ListenerRecord, ServiceRecord, State};
use crate::resource::{Exposure, allowlist::MAX_COUNTED, upstream::Tls};

/// One sentence for every access that `after` has and `before` had not.
pub(super) fn widened(before: &State, after: &State) -> Vec<String> {
    let mut out = Vec::new();
    for (name, record) in &after.listeners {
        listener(before.listeners.get(name).map(|held| &**held), record, &mut out);
    }
    for (name, account) in &after.accounts {
        let held = before.accounts.get(name);
        if account.cross_account && !held.is_some_and(|held| held.cross_account) {
            out.push(format!("networks of account {name} may be attached"));
        }
        let granted =
            account.grants.iter().filter(|grant| !held.is_some_and(|held| held.grants.contains(grant)));
        out.extend(granted.map(|grant| format!("account {name} grants {grant} again")));
    }
    // A network that comes back shows by its listener; here is what the listener does not say.
    for (name, vpc) in &after.vpcs {
        let held = before.vpcs.get(name);
        if vpc.authoritative_dns && !held.is_some_and(|held| held.authoritative_dns) {
            out.push(format!("names of vpc {name} are told to outsiders"));
        }
        if let Some(held) = held.filter(|held| held.account != vpc.account) {
            out.push(format!(
                "vpc {name} is attached for account {} instead of {}",
                vpc.account, held.account
            ));
        }
    }
    for (name, record) in &after.endpoints {
        let (Some(held), one) = (before.endpoints.get(name), &record.endpoint) else { continue };
        let held = &held.endpoint;
        if (&held.service, &held.vpc) != (&one.service, &one.vpc) {
            out.push(format!(
                "endpoint {name} leads from vpc {} to {} instead of from {} to {}",
                one.vpc, one.service, held.vpc, held.service
            ));
        }
    }
    for (name, record) in &after.services {
        service(before.services.get(name).map(|held| &**held), record, &mut out);
    }
    for (host, domain) in &after.domains {
        match before.domains.get(host) {
            None => out.push(format!("domain {host} answers again ({})", domain.exposure)),
            Some(held) => {
                if held.exposure != domain.exposure {
                    out.push(format!(
                        "domain {host} answers on {} instead of {}",
                        domain.exposure, held.exposure
                    ));
                }
                if held.https_only && !domain.https_only {
                    out.push(format!("domain {host} answers without TLS"));
                }
            }
        }
    }
    for (name, record) in &after.certificates {
        if before.certificates.get(name).is_none_or(|held| held.key_fingerprint != record.key_fingerprint) {
            out.push(format!("certificate {name} comes back with key {}", record.key_fingerprint));
        }
    }
    for (name, one) in &after.endpoint_services {
        match before.endpoint_services.get(name) {
            Some(held) if held == one => {}
            Some(_) => out.push(format!("endpoint service {name} leads or is offered as it was")),
            None => out.push(format!("endpoint service {name} comes back")),
        }
    }
    for (name, route) in &after.routes {
        match before.routes.get(name) {
            Some(held) if held == route => {}
            Some(_) => out.push(format!("route {name} matches or leads as it did")),
            None => out.push(format!("route {name} comes back")),
        }
    }
    out
}

fn listener(before: Option<&ListenerRecord>, after: &ListenerRecord, out: &mut Vec<String>) {
    let name = &after.listener.name;
    let Some(before) = before else {
        let state = if after.listener.open { "open" } else { "closed" };
        out.push(format!("listener {name} comes back {state} with {} entries", after.entries.len()));
        return;
    };
    if after.listener.open && !before.listener.open {
        out.push(format!("listener {name} opens"));
    }
    let endpoints = |record: &ListenerRecord| {
        let listener = &record.listener;
        (listener.interface.clone(), listener.addresses.clone(), listener.http, listener.https)
    };
    if endpoints(before) != endpoints(after) {
        out.push(format!("listener {name} is reached at other endpoints"));
    }
    if after.monitor > before.monitor {
        out.push(format!("listener {name} is monitored: its allowlist drops nobody"));
    }
    if after.listener.proxy_protocol != before.listener.proxy_protocol {
        let whose = if after.listener.proxy_protocol { "PROXY protocol headers" } else { "connections" };
        out.push(format!("listener {name} takes the addresses of clients from {whose}"));
    }
    let believed = after.listener.trusted_forwarders.iter();
    let believed = believed.filter(|cidr| !before.listener.trusted_forwarders.contains(cidr));
    out.extend(believed.map(|cidr| format!("listener {name} believes forwarders in {cidr}")));
    let admitted: Vec<_> = after.entries.cidrs().filter(|cidr| !before.entries.contains(cidr)).collect();
    if admitted.len() > MAX_COUNTED {
        out.push(format!("listener {name} admits {} more entries", admitted.len()));
    } else {
        out.extend(admitted.iter().map(|cidr| format!("listener {name} admits {cidr}")));
    }
}

fn service(before: Option<&ServiceRecord>, after: &ServiceRecord, out: &mut Vec<String>) {
    let name = &after.service.name;
    let Some(before) = before else {
        let who = if after.service.no_auth { "everybody".to_owned() } else { tokens(&after.tokens) };
        out.push(format!("service {name} comes back for {who}"));
        return;
    };
    if after.service.no_auth && !before.service.no_auth {
        out.push(format!("service {name} admits everybody without a token"));
    }
    if after.service.exposure != before.service.exposure && before.service.exposure != Exposure::All {
        out.push(format!(
            "service {name} is visible on {} instead of {}",
            after.service.exposure, before.service.exposure
        ));
    }
    if after.service.tls != Tls::Verify && before.service.tls == Tls::Verify {
        out.push(format!("service {name} is called without checking who answers"));
    }
    let revived: Vec<_> = after
        .tokens
        .iter()
        .filter(|token| before.tokens.iter().all(|held| held.hash != token.hash))
        .copied()
        .collect();
    if !revived.is_empty() {
        out.push(format!("service {name} takes the revoked {}", tokens(&revived)));
    }
}

fn tokens(tokens: &[crate::resource::Token]) -> String {
    let named: Vec<String> = tokens.iter().map(|token| token.hash.fingerprint().to_string()).collect();
    format!("token {}", named.join(", "))
}
