//! `gateway show`: the gateway and the names that clients call it by.

use clap::Args;
use serde_json::Value;

use super::{
    DONE, Done, Session,
    output::{field, print_json, print_text},
};
use crate::api::client::Call;

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Name of the gateway
    #[arg(default_value = "default")]
    name: String,
}

impl ShowArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        let reply = session.client.send(Call::get(&["gateways", &self.name]))?;
        if session.json {
            print_json(&reply);
        } else {
            print_text(&text(&reply));
        }
        Ok(DONE)
    }
}

fn text(reply: &Value) -> String {
    let mut out = format!(
        "gateway {}, region {}, {} listeners, {} services\n",
        field(reply, "name"),
        field(reply, "region"),
        field(reply, "listeners"),
        field(reply, "services"),
    );
    if reply.get("dns_zone").is_none_or(Value::is_null) {
        out.push_str("no names: set dns_zone in the settings to have them\n");
        return out;
    }
    out.push_str(&format!(
        "public   {}\n         CNAME {}\n",
        field(reply, "public_name"),
        field(reply, "public_target")
    ));
    for own in reply.get("private_names").and_then(Value::as_array).into_iter().flatten() {
        out.push_str(&format!(
            "vpc {}   {}\n         CNAME {}\n",
            field(own, "vpc"),
            field(own, "name"),
            field(own, "target")
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn pa_6_names_and_targets_are_shown_and_their_absence_is_explained() {
        let reply = json!({
            "name": "default", "region": "eu-1", "listeners": 1, "services": 0, "dns_zone": "gw.example",
            "public_name": "gw-default.eu-1.gw.example", "public_target": "nlb-default.eu-1.gw.example",
            "private_names": [{"vpc": "s1", "name": "gw-default-vpc.eu-1.gw.example", "target": "ep-s1.x"}],
        });
        let text = super::text(&reply);
        assert!(
            text.contains("gw-default.eu-1.gw.example\n         CNAME nlb-default.eu-1.gw.example"),
            "{text}"
        );
        assert!(text.contains("vpc s1   gw-default-vpc.eu-1.gw.example\n         CNAME ep-s1.x"), "{text}");
        let none = super::text(&json!({"name": "default", "dns_zone": null}));
        assert!(none.contains("dns_zone"), "{none}");
    }
}
