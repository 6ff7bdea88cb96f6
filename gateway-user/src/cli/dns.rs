//! `gateway dns …`: what the name server answers, and to whom.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    DONE, Done, Session,
    output::{field, items, items_table, print_json, print_line, print_text},
};
use crate::api::client::Call;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Say what would be answered to a client of a private network, or to one outside
    Query(Query),
    /// List every record, of all views or of one private network's
    Records(View),
}

#[derive(Debug, Args)]
pub struct Query {
    /// The name that is asked for
    name: String,
    /// A, AAAA, CNAME, NS, SOA …
    #[arg(long = "type", value_name = "TYPE", default_value = "A")]
    kind: String,
    #[command(flatten)]
    view: View,
}

#[derive(Debug, Args)]
pub struct View {
    /// As a client of this private network sees it
    #[arg(long, value_name = "NAME")]
    vpc: Option<String>,
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Query(query) => query.run(session),
            Self::Records(view) => view.records(session),
        }
    }
}

impl Query {
    fn run(&self, session: &Session) -> Done {
        let call = Call::get(&["dns", "query"]).query("name", &self.name).query("type", &self.kind);
        let reply = session.client.send(self.view.of(call))?;
        if session.json {
            print_json(&reply);
            return Ok(DONE);
        }
        let authoritative = reply.get("authoritative") == Some(&Value::Bool(true));
        print_line(&format!(
            "{} ({}view {}, generation {})",
            field(&reply, "status"),
            if authoritative { "authoritative, " } else { "" },
            field(&reply, "view"),
            field(&reply, "generation"),
        ));
        for section in ["answer", "authority", "additional"] {
            let lines = reply.get(section).and_then(Value::as_array).into_iter().flatten();
            for line in lines.filter_map(Value::as_str) {
                print_line(&format!("{section:<11} {line}"));
            }
        }
        Ok(DONE)
    }
}

impl View {
    fn of(&self, call: Call) -> Call {
        match &self.vpc {
            Some(vpc) => call.query("vpc", vpc),
            None => call,
        }
    }

    fn records(&self, session: &Session) -> Done {
        let reply = session.client.send(self.of(Call::get(&["dns", "records"])))?;
        if session.json {
            print_json(&reply);
        } else if items(&reply).is_empty() {
            print_line(
                "no names: set `dns_zone` in the settings file, or bind a domain to a private network",
            );
        } else {
            let columns =
                [("VIEW", "view"), ("NAME", "name"), ("TTL", "ttl"), ("TYPE", "type"), ("DATA", "data")];
            print_text(&items_table(&reply, &columns));
        }
        Ok(DONE)
    }
}
