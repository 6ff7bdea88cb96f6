//! Pure: the OpenAPI 3.1 description, written from the table that dispatches.

use serde_json::{Map, Value, json};

use super::{
    route::{self, Access, Route},
    wire,
};
use crate::resource::{self, Patched as _};

/// The description.
pub(super) fn document(version: &str) -> Value {
    let mut paths = Map::new();
    for route in route::all() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(operations) = path.as_object_mut() {
            operations.insert(route.method.as_str().to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gateway control API",
            "version": version,
            "description": "HTTP/1.1 and JSON over a unix socket. Root, the daemon's user and the control group may \
                change things; others may read. Fields are added, never renamed.",
        },
        "servers": [{ "url": "http://gateway", "description": "unix socket, e.g. /run/gateway/control.sock" }],
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn operation(route: &Route) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(route.query.iter().map(|name| parameter(name)));
    let mut operation = json!({
        "operationId": identifier(route),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done", "content": { wire::JSON: { "schema": reference(route.reply) } } },
            "default": { "description": "Refused; nothing was changed",
                "content": { wire::JSON: { "schema": reference("Error") } } },
        },
    });
    let Some(map) = operation.as_object_mut() else { return operation };
    if route.access == Access::Write {
        map.insert(
            "description".to_owned(),
            "Only for root, the daemon's user and the control group.".into(),
        );
    }
    if let Some(body) = route.body {
        let (media, schema) = match body {
            "Document" => (wire::TOML, json!({ "type": "string" })),
            name => (wire::JSON, reference(name)),
        };
        map.insert(
            "requestBody".to_owned(),
            json!({ "required": true, "content": { media: { "schema": schema } } }),
        );
    }
    operation
}

/// `POST /v1/listeners/{name}/open` is `post_listeners_name_open`.
fn identifier(route: &Route) -> String {
    let path = route.path.trim_start_matches(wire::PREFIX).replace(['{', '}', '.'], "").replace('/', "_");
    format!("{}{path}", route.method.as_str().to_ascii_lowercase())
}

fn parameter(name: &str) -> Value {
    let (kind, description, required) = match name {
        "dry_run" => ("boolean", "Say what would change, and change nothing", false),
        "replace" => ("boolean", "Change in place what is there", false),
        "follow" => ("boolean", "Stream a line of JSON per sample until the client goes away", false),
        "after" => ("integer", "Only samples numbered from here on", false),
        "search" => ("string", "Only those with this text in one of their names", false),
        "examples" => ("boolean", "Add commands that call the service", false),
        "with_secrets" => ("boolean", "Include keys and token hashes; only for who may write", false),
        "nft" => ("boolean", "The allowlists as an nftables ruleset instead", false),
        "confirm" => ("string", "Undo the change after this time (`30s`) unless it is confirmed", false),
        "listener" => ("string", "Only of this listener", false),
        "reason" => ("string", "Only for this reason", false),
        "window" => ("string", "Look back so far (`60s`)", false),
        "force" => ("boolean", "Make the change although it cuts the caller off", false),
        "caller" => ("string", "The remote shell that asks, as `$SSH_CONNECTION` tells it", false),
        "limit" => ("integer", "At most so many entries", false),
        "offset" => ("integer", "Leave out so many entries", false),
        "source" => ("string", "Source address", true),
        "destination" => ("string", "Destination address and port", true),
        "name" => ("string", "The name that is asked for", true),
        "type" => ("string", "A, AAAA, CNAME, NS, SOA …; A by default", false),
        "vpc" => ("string", "Private network", false),
        "vlan" => ("integer", "Tag of the frame that comes in through the interface", false),
        "interface" => ("string", "Interface that the packet comes in through", false),
        _ => ("string", "", false),
    };
    json!({ "name": name, "in": "query", "required": required, "description": description,
        "schema": { "type": kind } })
}

/// An object schema: `name: type` pairs; `?` at the end of a name makes it optional. A type is a JSON type, `[T]`, a
/// union `a|b`, or the name of a schema.
fn object(fields: &[(&str, &str)]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, kind) in fields {
        let bare = name.trim_end_matches('?');
        properties.insert(bare.to_owned(), schema(kind));
        if bare == *name {
            required.push(bare);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

fn schema(kind: &str) -> Value {
    match kind {
        "any" => json!({}),
        "string" | "integer" | "number" | "boolean" | "null" | "object" => json!({ "type": kind }),
        _ => match kind.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => json!({ "type": "array", "items": schema(inner) }),
            None if kind.contains('|') => json!({ "anyOf": kind.split('|').map(schema).collect::<Vec<_>>() }),
            None => json!({ "$ref": format!("#/components/schemas/{kind}") }),
        },
    }
}

/// Every schema, field by field, in the words of [`object`].
#[rustfmt::skip]
const SCHEMAS: &[(&str, &[(&str, &str)])] = &[
    ("Error", &[("error", "Refusal")]),
    ("Refusal", &[("code", "string"), ("message", "string"), ("field?", "string"), ("value?", "string"), ("limit?", "string"), ("remedy?", "string")]),
    ("Change", &[("kind", "string"), ("name", "string"), ("field?", "string"), ("old?", "any"), ("new?", "any")]),
    ("Changed", &[("generation", "integer"), ("changed", "boolean"), ("item", "any"), ("changes", "[Change]"), ("confirm_by?", "integer"), ("dry_run?", "boolean"), ("would_cut?", "[Lost]"), ("would_cut_total?", "integer"), ("notes?", "[string]")]),
    ("Applied", &[("generation", "integer"), ("changed", "boolean"), ("item", "any"), ("changes", "[Change]"), ("confirm_by?", "integer"), ("dry_run?", "boolean"), ("would_cut?", "[Lost]"), ("would_cut_total?", "integer"), ("notes?", "[string]"), ("tokens?", "[IssuedToken]")]),
    ("Confirmed", &[("generation", "integer"), ("changed", "boolean")]),
    ("IssuedToken", &[("service", "string"), ("token", "string")]),
    ("ServiceAdded", &[("generation", "integer"), ("changed", "boolean"), ("item", "any"), ("changes", "[Change]"), ("confirm_by?", "integer"), ("dry_run?", "boolean"), ("would_cut?", "[Lost]"), ("would_cut_total?", "integer"), ("notes?", "[string]"), ("name", "string"), ("endpoints", "[string]"), ("token?", "string")]),
    ("Version", &[("version", "string"), ("api", "string")]),
    ("Status", &[("version", "string"), ("generation", "integer"), ("uptime_seconds", "integer"), ("state", "string"), ("filter", "[FilterStatus]"), ("addresses", "[AddressStatus]"), ("dns", "[NameSocket]"), ("enforcers", "[EnforcerStatus]"), ("workers", "[WorkerStatus]"), ("listeners", "[ListenerStatus]"), ("vpcs", "[VpcStatus]"), ("domains", "integer"), ("certificates", "integer"), ("services", "integer"), ("routes", "integer"), ("confirm?", "ConfirmStatus"), ("warnings", "[string]")]),
    ("AddressStatus", &[("interface", "string"), ("address", "string"), ("state", "string"), ("detail?", "string")]),
    ("ConfirmStatus", &[("by", "integer"), ("left", "integer"), ("back_to", "integer")]),
    ("FilterStatus", &[("interface", "string"), ("device", "string"), ("vlan", "integer"), ("mode", "string"), ("generation", "integer"), ("detail?", "string")]),
    ("NameSocket", &[("view", "string"), ("interface?", "string"), ("address", "string"), ("state", "string"), ("generation", "integer"), ("detail?", "string")]),
    ("NameAnswer", &[("generation", "integer"), ("view", "string"), ("name", "string"), ("type", "string"), ("status", "string"), ("authoritative", "boolean"), ("answer", "[string]"), ("authority", "[string]"), ("additional", "[string]")]),
    ("NameRecordList", &[("generation", "integer"), ("items", "[NameRecord]")]),
    ("NameRecord", &[("view", "string"), ("zone", "string"), ("name", "string"), ("type", "string"), ("ttl", "integer"), ("data", "string"), ("withdrawn?", "boolean")]),
    ("WorkerStatus", &[("worker", "integer"), ("generation", "integer")]),
    ("VpcStatus", &[("vpc", "string"), ("interface", "string"), ("address", "string"), ("state", "string"), ("detail?", "string")]),
    ("ListenerStatus", &[("listener", "string"), ("interface", "string"), ("addresses", "[string]"), ("open", "boolean"), ("state", "string"), ("tier", "string"), ("detail?", "string"), ("entries", "integer"), ("monitored?", "integer")]),
    ("EnforcerStatus", &[("name", "string"), ("generation", "integer")]),
    ("Stats", &[("generation", "integer"), ("filter", "[VerdictCount]"), ("services", "[object]"), ("listeners", "[object]"), ("load", "object")]),
    ("VerdictCount", &[("listener", "string"), ("channel", "string"), ("reason", "string"), ("verdict", "string"), ("tier", "string"), ("packets", "integer"), ("bytes", "integer")]),
    ("Drops", &[("generation", "integer"), ("items", "[VerdictCount]"), ("events", "[DropLine]"), ("lost", "integer")]),
    ("DropLine", &[("sequence", "integer"), ("time", "number"), ("listener", "string|null"), ("reason", "string"), ("source", "string|null"), ("source_port", "integer"), ("destination", "string|null"), ("destination_port", "integer"), ("interface", "string"), ("vlan", "integer"), ("length", "integer"), ("generation", "integer"), ("weight", "integer"), ("lost", "integer")]),
    ("DropsTop", &[("generation", "integer"), ("window_seconds", "integer"), ("items", "[DropsTopItem]"), ("lost", "integer")]),
    ("DropsTopItem", &[("source", "string"), ("listener", "string|null"), ("reason", "string"), ("packets", "integer"), ("last_seen", "integer")]),
    ("Explain", &[("verdict", "string"), ("reason", "string"), ("tier", "string"), ("listener", "string|null"), ("entry", "string|null"), ("interface", "string|null"), ("generation", "integer"), ("last_seen", "integer|null"), ("connections", "integer"), ("count", "ExplainCount|null"), ("kernel", "ExplainVerdict|null"), ("host", "ExplainVerdict"), ("warnings", "[string]")]),
    ("ExplainVerdict", &[("verdict", "string"), ("reason", "string"), ("listener", "string|null"), ("entry", "string|null"), ("generation", "integer")]),
    ("ExplainCount", &[("of", "string"), ("packets", "integer"), ("bytes", "integer")]),
    ("GatewayList", &[("generation", "integer"), ("items", "[GatewayItem]")]),
    ("GatewayItem", &[("name", "string"), ("listeners", "integer"), ("services", "integer"), ("region", "string"), ("dns_zone", "string|null"), ("public_name", "string|null"), ("public_target", "string|null"), ("private_names", "[PrivateName]")]),
    ("PrivateName", &[("vpc", "string"), ("name", "string"), ("target", "string")]),
    ("EndpointServiceList", &[("generation", "integer"), ("items", "[EndpointServiceItem]")]),
    ("EndpointService", &[("name", "string"), ("gateway?", "string"), ("service_name", "string"), ("dns", "string"), ("regions?", "[string]"), ("service", "string"), ("cert?", "string")]),
    ("EndpointServiceItem", &[("name", "string"), ("gateway", "string"), ("service_name", "string"), ("dns", "string"), ("regions", "[string]"), ("service", "string"), ("cert", "string|null"), ("endpoints", "[string]")]),
    ("EndpointList", &[("generation", "integer"), ("items", "[EndpointItem]")]),
    ("Endpoint", &[("name", "string"), ("gateway?", "string"), ("kind?", "string"), ("ip_version?", "string"), ("service", "string"), ("region?", "string"), ("vpc", "string"), ("subnets", "string|[any]"), ("security_group?", "string|[string]"), ("open?", "boolean"), ("http?", "integer|boolean"), ("https?", "integer|boolean"), ("client_token?", "string")]),
    ("EndpointItem", &[("name", "string"), ("gateway", "string"), ("listener", "string"), ("kind", "string"), ("ip_version", "string"), ("service", "string"), ("service_name", "string"), ("fqdn", "string"), ("region", "string"), ("vpc", "string"), ("subnets", "[object]"), ("security_group", "[string]"), ("http", "integer|boolean"), ("https", "integer|boolean"), ("open", "boolean"), ("zone_redundancy", "boolean"), ("client_token", "string|null"), ("urls", "[string]"), ("zones?", "[object]")]),
    ("EndpointAdded", &[("generation", "integer"), ("changed", "boolean"), ("item", "any"), ("changes", "[Change]"), ("dry_run?", "boolean"), ("notes?", "[string]"), ("name", "string"), ("fqdn", "string"), ("service_name", "string"), ("urls", "[string]")]),
    ("ListenerList", &[("generation", "integer"), ("items", "[ListenerItem]")]),
    ("Listener", &[("name", "string"), ("gateway?", "string"), ("exposure", "string"), ("interface", "string"), ("addresses", "string|[string]"), ("http?", "integer|boolean"), ("https?", "integer|boolean"), ("open?", "boolean"), ("wait_address?", "boolean"), ("limits?", "Limits"), ("proxy_protocol?", "boolean"), ("trusted_forwarders?", "string|[string]"), ("allow?", "string|[string]")]),
    ("ListenerItem", &[("name", "string"), ("gateway", "string"), ("id", "integer"), ("exposure", "string"), ("interface", "string"), ("addresses", "[string]"), ("http", "integer|boolean"), ("https", "integer|boolean"), ("open", "boolean"), ("wait_address", "boolean"), ("limits", "Limits"), ("proxy_protocol", "boolean"), ("trusted_forwarders", "[string]"), ("monitor_until?", "integer"), ("entries", "integer"), ("allow", "[string]"), ("draining", "[object]")]),
    ("AccountList", &[("generation", "integer"), ("items", "[AccountItem]")]),
    ("Account", &[("name", "string"), ("cross_account?", "boolean"), ("grants?", "[string]")]),
    ("AccountPatch", &[("cross_account", "boolean")]),
    ("AccountItem", &[("name", "string"), ("cross_account", "boolean"), ("grants", "[string]"), ("missing", "[string]"), ("vpcs", "[string]")]),
    ("Grants", &[("grants", "[string]")]),
    ("GrantList", &[("account", "string"), ("generation", "integer"), ("items", "[GrantItem]")]),
    ("GrantItem", &[("grant", "string"), ("granted", "boolean")]),
    ("VpcList", &[("generation", "integer"), ("items", "[VpcItem]")]),
    ("Vpc", &[("name", "string"), ("gateway?", "string"), ("account?", "string"), ("interface", "string"), ("address", "string"), ("zone", "string"), ("vswitch?", "string"), ("region?", "string"), ("probe?", "string"), ("authoritative_dns?", "boolean"), ("http?", "integer|boolean"), ("https?", "integer|boolean"), ("open?", "boolean"), ("limits?", "Limits"), ("proxy_protocol?", "boolean"), ("trusted_forwarders?", "string|[string]"), ("allow?", "string|[string]")]),
    ("VpcItem", &[("name", "string"), ("gateway", "string"), ("account", "string"), ("listener", "string"), ("interface", "string"), ("address", "string"), ("zone", "string"), ("vswitch", "string"), ("region", "string"), ("channel", "string"), ("names", "[string]"), ("probe", "string|null"), ("authoritative_dns", "boolean"), ("http", "integer|boolean"), ("https", "integer|boolean"), ("open", "boolean"), ("proxy_protocol", "boolean"), ("trusted_forwarders", "[string]"), ("revoked?", "string"), ("entries", "integer"), ("state", "string"), ("detail?", "string")]),
    ("Limits", &[("syn_rate?", "integer|null"), ("syn_rate_per_source?", "integer|null"), ("max_connections?", "integer|null"), ("max_connections_per_source?", "integer|null")]),
    ("Monitor", &[("for?", "string"), ("off?", "boolean")]),
    ("BanList", &[("generation", "integer"), ("mode", "string"), ("items", "[BanItem]"), ("history", "[BanEvent]"), ("offences_lost", "integer"), ("banned", "integer"), ("would_ban", "integer"), ("spared", "integer")]),
    ("Ban", &[("source", "string"), ("for?", "string"), ("reason?", "string")]),
    ("BanItem", &[("source", "string"), ("cause", "string"), ("since", "integer"), ("until", "integer"), ("enforced", "boolean"), ("repeats", "integer"), ("actor?", "integer"), ("note", "string")]),
    ("BanEvent", &[("at", "integer"), ("action", "string"), ("source", "string"), ("cause", "string"), ("actor?", "integer"), ("note", "string")]),
    ("BanChanged", &[("generation", "integer"), ("changed", "boolean"), ("item", "BanItem"), ("dry_run?", "boolean")]),
    ("VpcAdded", &[("generation", "integer"), ("changed", "boolean"), ("item", "any"), ("changes", "[Change]"), ("confirm_by?", "integer"), ("dry_run?", "boolean"), ("notes?", "[string]"), ("name", "string"), ("endpoint", "string"), ("address", "string")]),
    ("AllowList", &[("listener", "string"), ("generation", "integer"), ("total", "integer"), ("packets?", "integer"), ("bytes?", "integer"), ("items", "[AllowItem]")]),
    ("AllowItem", &[("cidr", "string"), ("packets", "integer"), ("bytes", "integer"), ("draining?", "boolean"), ("until?", "integer")]),
    ("Cidrs", &[("cidrs", "string|[string]"), ("allow_empty?", "boolean"), ("drain?", "string")]),
    ("CertificateList", &[("generation", "integer"), ("items", "[CertificateItem]")]),
    ("Certificate", &[("name", "string"), ("gateway?", "string"), ("chain", "string"), ("key?", "string"), ("key_fingerprint?", "string")]),
    ("CertificateItem", &[("name", "string"), ("gateway", "string"), ("names", "[string]"), ("subject", "string"), ("issuer", "string"), ("not_before", "integer"), ("not_after", "integer"), ("key_fingerprint", "string"), ("domains", "[string]")]),
    ("DomainList", &[("generation", "integer"), ("items", "[DomainItem]")]),
    ("Domain", &[("host", "string"), ("gateway?", "string"), ("exposure", "string"), ("cert?", "string"), ("https_only?", "boolean")]),
    ("DomainItem", &[("host", "string"), ("gateway", "string"), ("exposure", "string"), ("cert", "string|null"), ("https_only", "boolean"), ("routes", "[string]")]),
    ("Check", &[("host", "string"), ("generation", "integer"), ("ok", "boolean"), ("checks", "[CheckItem]")]),
    ("CheckItem", &[("name", "string"), ("ok", "boolean"), ("message", "string"), ("remedy?", "string")]),
    ("ServiceList", &[("generation", "integer"), ("items", "[ServiceItem]")]),
    ("Service", &[("name", "string"), ("gateway?", "string"), ("instances", "string|[any]"), ("protocol?", "string"), ("exposure?", "string"), ("body_limit?", "integer|string"), ("qps?", "integer|null"), ("no_auth?", "boolean"), ("forward_token?", "boolean"), ("timeouts?", "Timeouts"), ("tls?", "string"), ("tls_server_name?", "string|null"), ("tls_ca?", "string|null"), ("balance?", "string"), ("hash_on?", "string|null"), ("health?", "HealthCheck|null"), ("outlier?", "Outlier"), ("retry?", "Retry"), ("bounds?", "Bounds"), ("slow_start?", "string"), ("compression?", "[string]"), ("decompress?", "boolean"), ("token?", "string"), ("token_fingerprints?", "[string]"), ("token_hashes?", "[object]")]),
    ("ServiceItem", &[("name", "string"), ("gateway", "string"), ("instances", "[string]"), ("protocol", "string"), ("exposure", "string"), ("body_limit", "integer"), ("qps", "integer|null"), ("no_auth", "boolean"), ("forward_token", "boolean"), ("timeouts", "Timeouts"), ("tls", "string"), ("tls_server_name", "string|null"), ("tls_ca_subjects", "[string]"), ("balance", "string"), ("hash_on", "string|null"), ("health", "HealthCheck|null"), ("outlier", "Outlier"), ("retry", "Retry"), ("bounds", "Bounds"), ("slow_start", "string"), ("compression", "[string]"), ("decompress", "boolean"), ("tokens", "[object]"), ("endpoints", "[string]"), ("routes", "[string]"), ("mirrored_by", "[string]"), ("examples?", "[object]")]),
    ("HealthCheck", &[("probe", "string"), ("interval?", "string"), ("timeout?", "string"), ("healthy?", "integer"), ("unhealthy?", "integer")]),
    ("Outlier", &[("failures?", "integer"), ("ejection?", "string"), ("max_ejected_percent?", "integer")]),
    ("Retry", &[("attempts?", "integer"), ("budget_percent?", "integer")]),
    ("Bounds", &[("in_flight?", "integer|null"), ("queue?", "integer"), ("queue_wait?", "string")]),
    ("Timeouts", &[("connect?", "string"), ("first_byte?", "string"), ("idle?", "string")]),
    ("Token", &[("token?", "string")]),
    ("RouteList", &[("generation", "integer"), ("items", "[RouteItem]")]),
    ("Route", &[("name", "string"), ("gateway?", "string"), ("host?", "string|null"), ("path_prefix?", "string"), ("methods?", "[string]"), ("headers?", "object"), ("strip_prefix?", "boolean"), ("services", "string|[any]"), ("mirror?", "string|Mirror|null"), ("retry_unsafe?", "boolean")]),
    ("RouteItem", &[("name", "string"), ("gateway", "string"), ("host", "string|null"), ("path_prefix", "string"), ("methods", "[string]"), ("headers", "object"), ("strip_prefix", "boolean"), ("services", "[object]"), ("mirror", "Mirror|null"), ("retry_unsafe", "boolean")]),
    ("Mirror", &[("service", "string"), ("percent?", "integer")]),
    ("Diff", &[("generation", "integer"), ("changed", "boolean"), ("changes", "[Change]"), ("would_cut", "[Lost]"), ("would_cut_total", "integer"), ("notes?", "[string]")]),
    ("Lost", &[("source", "string"), ("listener", "string"), ("connections", "integer"), ("cut", "boolean"), ("last_seen", "integer"), ("reason", "string")]),
    ("Export", &[("generation", "integer"), ("toml?", "string"), ("nft?", "string")]),
    ("History", &[("generation", "integer"), ("items", "[HistoryItem]")]),
    ("HistoryItem", &[("generation", "integer"), ("time", "integer"), ("actor", "integer|null"), ("summary", "string")]),
    ("Rollback", &[("generation", "integer"), ("yes?", "boolean")]),
];

/// A change of some fields (RFC 7396): the schema, the resource that it is of, and the fields that it leaves alone.
struct PatchSchema {
    name: &'static str,
    whole: &'static str,
    fixed: &'static [(&'static str, &'static str)],
}

const PATCHES: [PatchSchema; 4] = [
    PatchSchema { name: "ListenerPatch", whole: "Listener", fixed: resource::Listener::FIXED },
    PatchSchema { name: "VpcPatch", whole: "Vpc", fixed: resource::Vpc::FIXED },
    PatchSchema { name: "ServicePatch", whole: "Service", fixed: resource::Service::FIXED },
    PatchSchema { name: "RoutePatch", whole: "Route", fixed: resource::Route::FIXED },
];

fn schemas() -> Value {
    let mut schemas: Map<String, Value> =
        SCHEMAS.iter().map(|(name, fields)| ((*name).to_owned(), object(fields))).collect();
    schemas.insert("Any".to_owned(), json!({}));
    for PatchSchema { name, whole, fixed } in &PATCHES {
        let Some((_, fields)) = SCHEMAS.iter().find(|(name, _)| name == whole) else { continue };
        let mut patch = object(fields);
        if let Some(properties) = patch.get_mut("properties").and_then(Value::as_object_mut) {
            properties.retain(|field, _| !fixed.iter().any(|(fixed, _)| fixed == field));
            for kind in properties.values_mut() {
                *kind = json!({ "anyOf": [kind.take(), { "type": "null" }] });
            }
        }
        // A patch names what it changes, and nothing has to be in it.
        if let Some(map) = patch.as_object_mut() {
            map.insert("required".to_owned(), json!([]));
        }
        schemas.insert((*name).to_owned(), patch);
    }
    Value::Object(schemas)
}

#[cfg(test)]
mod tests;
