//! `/v1/domains/{host}/check`: does the name lead here, is there a listener for it, is its certificate good.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use serde_json::Value;

use crate::{
    api::{
        Context,
        request::Request,
        route::Reply,
        wire::{Check, CheckReply},
    },
    base::{Generation, Refusal, clock},
    control::view::{CertificateView, DomainView, ListenerView},
    resource::{Address, Exposure},
};

/// How long the name service may take.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);
/// A certificate that ends within this time should have been renewed.
const RENEW: i64 = 14 * 24 * 3600;

/// Everything that is known before the name service is asked.
pub(in crate::api) struct Plan {
    host: String,
    generation: Generation,
    checks: Vec<Check>,
    /// Addresses that the name should lead to; empty when any address of a wildcard listener would do.
    expected: BTreeSet<IpAddr>,
}

pub(in crate::api) fn check(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let control = context.control.borrow();
    let domain = control.domain(request.segment())?;
    let listeners: Vec<ListenerView> =
        control.listeners().items.into_iter().filter(|listener| serves(&domain, listener)).collect();
    let certificate = domain.cert.as_ref().map(|name| control.certificate(name)).transpose()?;
    let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
    let mut expected = BTreeSet::new();
    for address in listeners.iter().flat_map(|listener| &listener.addresses) {
        if let Address::Ip(ip) = address
            && !ip.is_unspecified()
        {
            expected.insert(*ip);
        }
    }
    let checks = vec![listener(&domain, &listeners), self::certificate(&domain, certificate.as_ref(), now)];
    Ok(Reply::Check(Plan {
        host: domain.host.to_string(),
        generation: control.generation(),
        checks,
        expected,
    }))
}

fn serves(domain: &DomainView, listener: &ListenerView) -> bool {
    match &domain.exposure {
        Exposure::All => true,
        Exposure::Public => listener.exposure == Exposure::Public,
        Exposure::Vpc => matches!(listener.exposure, Exposure::VpcNamed(_)),
        Exposure::VpcNamed(_) | Exposure::EndpointNamed(_) => listener.exposure == domain.exposure,
        Exposure::Endpoint => false,
    }
}

fn listener(domain: &DomainView, listeners: &[ListenerView]) -> Check {
    let open: Vec<&str> =
        listeners.iter().filter(|listener| listener.open).map(|listener| listener.name.as_str()).collect();
    if open.is_empty() {
        let message = format!("no open listener has exposure {}", domain.exposure);
        return failed("listener", message, "open one with `gateway listener open NAME`, or add one");
    }
    if domain.cert.is_some() && listeners.iter().all(|listener| listener.https.is_none()) {
        return failed("listener", "no listener has an HTTPS port".to_owned(), "add one with --https 443");
    }
    passed("listener", format!("answered by {}", open.join(", ")))
}

fn certificate(domain: &DomainView, certificate: Option<&CertificateView>, now: i64) -> Check {
    let Some(certificate) = certificate else {
        let message = "no certificate: HTTPS gets the self-signed default one";
        return if domain.https_only {
            let remedy = "add one with `gateway cert add`, then `gateway domain add --replace --cert NAME`";
            failed("certificate", message.to_owned(), remedy)
        } else {
            passed("certificate", message.to_owned())
        };
    };
    let host = domain.host.to_string();
    let name = &certificate.name;
    if !certificate.names.iter().any(|pattern| covers(pattern, &host)) {
        let message = format!("`{name}` is for {}, not for {host}", certificate.names.join(", "));
        return failed("certificate", message, "use a certificate for this name");
    }
    if now > certificate.not_after {
        let message = format!("`{name}` has expired");
        return failed("certificate", message, "renew it: `gateway cert add --replace`");
    }
    if now < certificate.not_before {
        let message = format!("`{name}` is not valid yet");
        return failed("certificate", message, "check this machine's clock");
    }
    if certificate.not_after - now < RENEW {
        let days = (certificate.not_after - now) / 86_400;
        return Check {
            remedy: Some("renew it: `gateway cert add --replace`".to_owned()),
            ..passed("certificate", format!("`{name}` covers the name and ends in {days} days"))
        };
    }
    passed("certificate", format!("`{name}` covers the name and is valid"))
}

/// RFC 6125 §6.4.3: a wildcard stands for exactly one whole left-most label.
fn covers(pattern: &str, host: &str) -> bool {
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(parent), Some((_, rest))) => parent == rest,
        (Some(_) | None, _) => pattern == host,
    }
}

impl Plan {
    /// Asks the name service and completes the answer.
    pub(in crate::api) async fn run(mut self) -> Value {
        let resolved = self.resolve().await;
        self.checks.insert(0, resolved);
        let ok = self.checks.iter().all(|check| check.ok);
        let reply = CheckReply { host: self.host, generation: self.generation, ok, checks: self.checks };
        serde_json::to_value(reply).unwrap_or_default()
    }

    async fn resolve(&self) -> Check {
        if self.host.starts_with("*.") {
            return passed("dns", "a wildcard is not looked up".to_owned());
        }
        let lookup = tokio::net::lookup_host((self.host.as_str(), 443_u16));
        let found: BTreeSet<IpAddr> = match tokio::time::timeout(RESOLVE_DEADLINE, lookup).await {
            Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
            Ok(Err(error)) => {
                let message = format!("{} does not resolve: {error}", self.host);
                return failed("dns", message, &self.record());
            }
            Err(_) => {
                let message = "the name service does not answer".to_owned();
                return failed("dns", message, "check /etc/resolv.conf of this host");
            }
        };
        self.judge(&found)
    }

    fn judge(&self, found: &BTreeSet<IpAddr>) -> Check {
        let text =
            |set: &BTreeSet<IpAddr>| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if self.expected.is_empty() || !found.is_disjoint(&self.expected) {
            return passed("dns", format!("resolves to {}", text(found)));
        }
        let message = format!("resolves to {}, not to {}", text(found), text(&self.expected));
        // Behind address translation the record names the outer address, which this host does not know.
        failed("dns", message, &format!("{} (behind NAT, compare with the outer address)", self.record()))
    }

    fn record(&self) -> String {
        let addresses: Vec<String> = self.expected.iter().map(ToString::to_string).collect();
        match addresses.is_empty() {
            true => format!("add an address record for {}", self.host),
            false => format!("add an address record {} -> {}", self.host, addresses.join(", ")),
        }
    }
}

fn passed(name: &str, message: String) -> Check {
    Check { name: name.to_owned(), ok: true, message, remedy: None }
}

fn failed(name: &str, message: String, remedy: &str) -> Check {
    Check { name: name.to_owned(), ok: false, message, remedy: Some(remedy.to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Plan, covers};
    use crate::base::Generation;

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("*.example.org", "a.example.org"));
        assert!(covers("a.example.org", "a.example.org"));
        for (pattern, host) in [
            ("*.example.org", "example.org"),
            ("*.example.org", "a.b.example.org"),
            ("a.example.org", "b.example.org"),
        ] {
            assert!(!covers(pattern, host), "{pattern} {host}");
        }
    }

    #[test]
    fn a_record_must_lead_to_a_listener_unless_the_listener_is_everywhere() {
        let set = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<_>>();
        let plan = |expected: &[&str]| Plan {
            host: "a.example.org".to_owned(),
            generation: Generation(1),
            checks: Vec::new(),
            expected: set(expected),
        };
        assert!(plan(&["192.0.2.1"]).judge(&set(&["192.0.2.1", "2001:db8::1"])).ok);
        assert!(plan(&[]).judge(&set(&["203.0.113.9"])).ok);
        let wrong = plan(&["192.0.2.1"]).judge(&set(&["203.0.113.9"]));
        assert!(!wrong.ok && wrong.remedy.unwrap().contains("192.0.2.1"));
    }
}
