//! `gateway route …`: which requests go to which service.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{
    Done, Manner, Session,
    arguments::{Item, Named},
    change::Object,
};
use crate::{
    api::client::{Call, Failure},
    base::Refusal,
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a route
    Add(Add),
    /// Change some fields of a route
    Update(Update),
    /// List all routes
    List,
    /// Show one route
    Show(Item),
    /// Delete a route
    Delete(Named),
}

#[derive(Debug, Args)]
pub struct Add {
    /// Name of the route
    name: String,
    /// Service and its weight [default weight: 1]; repeat it for several
    #[arg(long, value_name = "S[=WEIGHT]", required = true, value_delimiter = ',')]
    service: Vec<String>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct Update {
    /// Name of the route
    name: String,
    /// Service and its weight [default weight: 1]; repeat it for several; takes the place of all
    #[arg(long, value_name = "S[=WEIGHT]", value_delimiter = ',')]
    service: Vec<String>,
    /// Header that is not matched any more, named as `route show` has it; repeat it for several
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    without_header: Vec<String>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    manner: Manner,
}

/// What a route may say beside where it leads.
#[derive(Debug, Args)]
struct Fields {
    /// Host name, or `off` [default: every host]
    #[arg(long)]
    host: Option<String>,
    /// Path prefix, in whole segments [default: /]
    #[arg(long, value_name = "P")]
    path_prefix: Option<String>,
    /// Method; repeat it for several, or `off` [default: every method]
    #[arg(long, value_delimiter = ',')]
    method: Vec<String>,
    /// Header that must be present with this value; repeat it for several, or `off` for none
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// Remove the path prefix before the request goes on
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    strip_prefix: Option<bool>,
    /// Send copies of requests to this service, so many of a hundred [default share: 100], or `off`
    #[arg(long, value_name = "S[=PERCENT]")]
    mirror: Option<String>,
    /// Send requests again also if their method is not idempotent
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    retry_unsafe: Option<bool>,
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Add(add) => {
                let mut body = add.fields.body(&add.service, &[])?;
                body.set("name", add.name.as_str());
                let call = Call::post(&["routes"]).json(&body.finish_new());
                session.change(call, &add.manner, &format!("route {} is added", add.name))
            }
            Self::Update(update) => {
                let mut body = update.fields.body(&update.service, &update.without_header)?;
                let call = Call::new(Method::PATCH, &["routes", &update.name]).json(&body.finish());
                session.change(call, &update.manner, &format!("route {} is updated", update.name))
            }
            Self::List => session.list(
                Call::get(&["routes"]),
                &[
                    ("NAME", "name"),
                    ("HOST", "host"),
                    ("PREFIX", "path_prefix"),
                    ("METHODS", "methods"),
                    ("SERVICES", "services"),
                ],
                "no routes; services answer at /api/predict/NAME without one",
            ),
            Self::Show(item) => session.show_item("routes", item),
            Self::Delete(named) => session.delete("routes", named, "route"),
        }
    }
}

impl Fields {
    /// A body with these fields and the services, which have forms that the daemon reads: `NAME=WEIGHT`. The headers in
    /// `without` are taken off.
    fn body(&self, service: &[String], without: &[String]) -> Result<Object, Failure> {
        let mut headers: serde_json::Map<_, _> =
            without.iter().map(|name| (name.clone(), Value::Null)).collect();
        let no_headers = self.header == ["off"];
        for text in self.header.iter().filter(|_| !no_headers) {
            let (name, value) = text.split_once('=').ok_or_else(|| {
                Failure::Refused(
                    Refusal::new("invalid", "a header match has no `=`")
                        .field("header", text)
                        .remedy("write NAME=VALUE"),
                )
            })?;
            headers.insert(name.to_owned(), value.into());
        }
        let mut body = Object::default();
        body.or_off("host", self.host.as_deref())
            .maybe("path_prefix", self.path_prefix.as_deref())
            .maybe("strip_prefix", self.strip_prefix)
            .or_off("mirror", self.mirror.as_deref())
            .maybe("retry_unsafe", self.retry_unsafe);
        if !service.is_empty() {
            body.set("services", service);
        }
        if self.method == ["off"] {
            body.set("methods", Value::Null);
        } else if !self.method.is_empty() {
            body.set("methods", self.method.clone());
        }
        if no_headers {
            body.set("headers", Value::Null);
        } else if !headers.is_empty() {
            body.set("headers", headers);
        }
        Ok(body)
    }
}
