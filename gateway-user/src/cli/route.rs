//! `gateway route …`: which requests go to which service.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    Done, Manner, Session,
    change::{Named, Object},
};
use crate::{
    api::client::{Call, Failure},
    base::Refusal,
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a route
    Add(Add),
    /// List all routes
    List,
    /// Show one route
    Show {
        /// Name of the route
        name: String,
    },
    /// Delete a route
    Delete(Named),
}

#[derive(Debug, Args)]
pub struct Add {
    /// Name of the route
    name: String,
    /// Host name [default: every host]
    #[arg(long)]
    host: Option<String>,
    /// Path prefix, in whole segments [default: /]
    #[arg(long, value_name = "P")]
    path_prefix: Option<String>,
    /// Method; repeat it for several [default: every method]
    #[arg(long, value_delimiter = ',')]
    method: Vec<String>,
    /// Header that must be present with this value; repeat it for several
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// Remove the path prefix before the request goes on
    #[arg(long)]
    strip_prefix: bool,
    /// Service and its weight [default weight: 1]; repeat it for several
    #[arg(long, value_name = "S[=WEIGHT]", required = true, value_delimiter = ',')]
    service: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Add(add) => {
                let call = Call::post(&["routes"]).json(&add.body()?);
                session.change(call, &add.manner, &format!("route {} is added", add.name))
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
            Self::Show { name } => session.show(Call::get(&["routes", name])),
            Self::Delete(named) => session.delete("routes", named, "route"),
        }
    }
}

impl Add {
    fn body(&self) -> Result<Value, Failure> {
        let mut headers = serde_json::Map::new();
        for text in &self.header {
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
        body.set("name", self.name.as_str())
            .maybe("host", self.host.as_deref())
            .maybe("path_prefix", self.path_prefix.as_deref())
            // `NAME=WEIGHT` is a form that the daemon reads.
            .set("services", self.service.clone());
        if !self.method.is_empty() {
            body.set("methods", self.method.clone());
        }
        if !headers.is_empty() {
            body.set("headers", headers);
        }
        if self.strip_prefix {
            body.set("strip_prefix", true);
        }
        Ok(body.finish())
    }
}
