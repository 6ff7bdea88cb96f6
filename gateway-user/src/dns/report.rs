//! What operators ask of the name server: what it would answer, and all that it knows.

use std::sync::Arc;

use super::{
    Dns,
    answer::{answer, ask, code_name, lines},
    control::view_name,
};
use crate::{
    base::{Name, Refusal},
    observe::dns::{NameAnswer, NameRecord},
    snapshot::{
        Subscriber as _,
        dns::{DnsData, DnsView, DnsZone},
    },
};

impl Dns {
    /// What would be answered to a client of a private network, or to one outside.
    ///
    /// # Errors
    /// The name or type is none, or there is no such view.
    pub fn query(&self, name: &str, kind: &str, vpc: Option<&str>) -> Result<NameAnswer, Refusal> {
        let view = self.view(vpc)?;
        let query = ask(name, kind).ok_or_else(|| {
            Refusal::new("invalid_query", "this is not a question that DNS can ask")
                .field("name", format_args!("{} {}", clip(name), clip(kind)))
                .remedy("give a name, and a type like A, AAAA, CNAME, NS or SOA")
        })?;
        let slot = self.slot(view).ok_or_else(|| no_view(vpc))?;
        let dead = Arc::clone(&self.dead);
        let answer = answer(&slot.load(), &|interface, address| dead(interface, address), &query);
        Ok(NameAnswer {
            generation: self.generation(),
            view: view_name(view.vpc.as_ref()),
            name: query.name().to_string(),
            kind: query.query_type().to_string(),
            status: code_name(answer.code),
            authoritative: answer.authoritative,
            answer: lines(&answer.records),
            authority: lines(&answer.authority),
            additional: lines(&answer.additional),
        })
    }

    /// Every record of a private network's view, or of all views.
    ///
    /// # Errors
    /// There is no such view.
    pub fn records(&self, vpc: Option<&str>) -> Result<Vec<NameRecord>, Refusal> {
        let views = match vpc {
            Some(_) => vec![self.view(vpc)?],
            None => self.plan.views.iter().map(|view| &**view).collect(),
        };
        Ok(views
            .into_iter()
            .flat_map(|view| view.zones.iter().flat_map(|zone| self.zone(view, zone)))
            .collect())
    }

    fn view(&self, vpc: Option<&str>) -> Result<&DnsView, Refusal> {
        let name = vpc.map(Name::new).transpose().map_err(|_| no_view(vpc))?;
        self.plan.view(name.as_ref()).map(|view| &**view).ok_or_else(|| no_view(vpc))
    }

    fn zone(&self, view: &DnsView, zone: &DnsZone) -> Vec<NameRecord> {
        let record = |name: &str, kind, data: String, withdrawn| NameRecord {
            view: view_name(view.vpc.as_ref()),
            zone: zone.origin.clone(),
            name: name.to_owned(),
            kind,
            ttl: self.plan.ttl,
            data,
            withdrawn,
        };
        let mut records = vec![
            record(&zone.origin, "SOA", format!("{} {}", zone.name_server, self.plan.serial), false),
            record(&zone.origin, "NS", zone.name_server.clone(), false),
        ];
        for (name, data) in &zone.records {
            for datum in data {
                let address = |ip: std::net::IpAddr, withdrawn| {
                    record(name, if ip.is_ipv4() { "A" } else { "AAAA" }, ip.to_string(), withdrawn)
                };
                match datum {
                    DnsData::Address(ip) => records.push(address(*ip, false)),
                    DnsData::Watched { interface, address: ip } => {
                        records.push(address(*ip, (self.dead)(interface, *ip)));
                    }
                    DnsData::Interface { interface, v4, v6 } => {
                        let own = self.address_of(interface).iter();
                        let wanted = own.filter(|ip| if ip.is_ipv4() { *v4 } else { *v6 });
                        records.extend(wanted.map(|ip| address(*ip, false)));
                    }
                    DnsData::Alias(target) => records.push(record(name, "CNAME", target.clone(), false)),
                }
            }
        }
        records
    }
}

fn no_view(vpc: Option<&str>) -> Refusal {
    match vpc {
        Some(vpc) => Refusal::new("not_found", format_args!("there is no private network `{}`", clip(vpc)))
            .field("vpc", clip(vpc))
            .remedy("`gateway vpc list` shows what there is"),
        None => Refusal::new("no_names", "outside private networks there are no names")
            .remedy("set `dns_zone` in the settings file, or name a private network with --vpc"),
    }
}

/// Enough of a stranger's text to recognise it.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}
