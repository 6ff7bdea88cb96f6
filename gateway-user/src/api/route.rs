//! The one table of the API: it dispatches requests and is what OpenAPI is written from, so the two cannot differ.

use http::Method;
use serde_json::Value;

use super::{Context, handler, request::Request};
use crate::base::Refusal;

/// What a handler answers.
pub(super) enum Reply {
    /// One JSON value.
    Json(Value),
    /// Sampled drops, a line each, until the client goes away; those numbered from here on.
    Drops { after: u64, wanted: handler::stats::Wanted },
    /// A check of a domain that has to wait for the name service.
    Check(handler::check::Plan),
}

pub(super) type Handler = fn(&Context, &Request) -> Result<Reply, Refusal>;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody who can open the socket.
    Read,
    /// Who may change the gateway.
    Write,
}

/// One operation.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) summary: &'static str,
    /// Query parameters, by their names in `openapi`.
    pub(super) query: &'static [&'static str],
    /// Schema of the body.
    pub(super) body: Option<&'static str>,
    /// Schema of the answer.
    pub(super) reply: &'static str,
    pub(super) handle: Handler,
}

/// What every change takes.
const CHANGE: &[&str] = &["dry_run", "confirm", "force", "caller"];

macro_rules! routes {
    ($($method:ident $path:literal $access:ident $summary:literal, $query:expr, $body:expr, $reply:literal, $handle:path;)+) => {
        &[$(Route {
            method: Method::$method,
            path: $path,
            access: Access::$access,
            summary: $summary,
            query: $query,
            body: $body,
            reply: $reply,
            handle: $handle,
        },)+]
    };
}

#[rustfmt::skip]
static ROUTES: &[Route] = routes! {
    GET "/v1/openapi.json" Read "This description", &[], None, "Any", handler::meta::openapi;
    GET "/v1/version" Read "Version of the daemon", &[], None, "Version", handler::meta::version;
    GET "/v1/status" Read "The daemon at a glance", &[], None, "Status", handler::meta::status;
    GET "/v1/stats" Read "Packets and requests since the start", &[], None, "Stats", handler::stats::stats;
    GET "/v1/drops" Read "Dropped packets by reason, and samples; with `follow` a line of JSON per sample", &["follow", "after", "listener", "reason"], None, "Drops", handler::stats::drops;
    GET "/v1/drops/top" Read "Whom most was dropped of lately, estimated from the samples", &["limit", "window", "listener", "reason"], None, "DropsTop", handler::stats::top;
    GET "/v1/explain" Read "What the filter does with a packet", &["source", "destination", "interface", "vlan"], None, "Explain", handler::explain::explain;

    GET "/v1/dns/query" Read "What the name server would answer in a private network, or outside", &["name", "type", "vpc"], None, "NameAnswer", handler::dns::query;
    GET "/v1/dns/records" Read "Every record of all views, or of a private network's", &["vpc"], None, "NameRecordList", handler::dns::records;

    GET "/v1/gateways" Read "List the gateways", &[], None, "GatewayList", handler::meta::gateways;

    GET "/v1/gateways/{name}" Read "Show a gateway and its names", &[], None, "GatewayItem", handler::meta::gateway;

    GET "/v1/listeners" Read "List the listeners", &[], None, "ListenerList", handler::listener::list;
    POST "/v1/listeners" Write "Add a listener", CHANGE, Some("Listener"), "Changed", handler::listener::add;
    GET "/v1/listeners/{name}" Read "Show a listener", &[], None, "ListenerItem", handler::listener::show;
    DELETE "/v1/listeners/{name}" Write "Delete a listener", CHANGE, None, "Changed", handler::listener::delete;
    POST "/v1/listeners/{name}/open" Write "Let allowed sources connect", CHANGE, None, "Changed", handler::listener::open;
    PATCH "/v1/listeners/{name}" Write "Change some fields of a listener; null takes one back to its default", CHANGE, Some("ListenerPatch"), "Changed", handler::listener::update;
    PATCH "/v1/listeners/{name}/limits" Write "Change limits of a listener; null takes one off", CHANGE, Some("Limits"), "Changed", handler::listener::limit;
    POST "/v1/listeners/{name}/monitor" Write "Let what the allowlist would drop pass and count it, for a stated time", CHANGE, Some("Monitor"), "Changed", handler::listener::monitor;
    POST "/v1/listeners/{name}/close" Write "Refuse everybody", CHANGE, None, "Changed", handler::listener::close;

    GET "/v1/listeners/{name}/allow" Read "The allowlist with its counters; at most `limit` entries from `offset` on", &["limit", "offset"], None, "AllowList", handler::allow::list;
    POST "/v1/listeners/{name}/allow" Write "Allow CIDRs", CHANGE, Some("Cidrs"), "Changed", handler::allow::add;
    PUT "/v1/listeners/{name}/allow" Write "Replace the allowlist", CHANGE, Some("Cidrs"), "Changed", handler::allow::set;
    DELETE "/v1/listeners/{name}/allow" Write "Stop allowing CIDRs and cut their connections", CHANGE, Some("Cidrs"), "Changed", handler::allow::remove;

    GET "/v1/accounts" Read "List the accounts", &[], None, "AccountList", handler::account::list;
    POST "/v1/accounts" Write "Add an account", CHANGE, Some("Account"), "Changed", handler::account::add;
    GET "/v1/accounts/{name}" Read "Show an account", &[], None, "AccountItem", handler::account::show;
    PATCH "/v1/accounts/{name}" Write "Let networks of an account be attached, or not", CHANGE, Some("AccountPatch"), "Changed", handler::account::update;
    DELETE "/v1/accounts/{name}" Write "Delete an account that has no network here", CHANGE, None, "Changed", handler::account::delete;
    GET "/v1/accounts/{name}/grants" Read "List what an account has granted", &[], None, "GrantList", handler::account::grants;
    POST "/v1/accounts/{name}/grants" Write "Note what an account grants", CHANGE, Some("Grants"), "Changed", handler::account::grant;
    DELETE "/v1/accounts/{name}/grants" Write "Take grants back: the account's networks are torn down", CHANGE, Some("Grants"), "Changed", handler::account::revoke;

    GET "/v1/bans" Read "Who is banned, and what became of offences of late", &[], None, "BanList", handler::ban::list;
    POST "/v1/bans" Write "Ban a source for a while", &["dry_run"], Some("Ban"), "BanChanged", handler::ban::add;
    DELETE "/v1/bans/{source}" Write "End a ban", &["dry_run"], None, "BanChanged", handler::ban::lift;

    GET "/v1/vpcs" Read "List the private networks", &[], None, "VpcList", handler::vpc::list;
    POST "/v1/vpcs" Write "Attach a private network; the answer names its endpoint", CHANGE, Some("Vpc"), "VpcAdded", handler::vpc::add;
    GET "/v1/vpcs/{name}" Read "Show a private network", &[], None, "VpcItem", handler::vpc::show;
    PATCH "/v1/vpcs/{name}" Write "Change some fields of a private network; null takes one back to its default", CHANGE, Some("VpcPatch"), "Changed", handler::vpc::update;
    DELETE "/v1/vpcs/{name}" Write "Detach a private network; its endpoint is silent", CHANGE, None, "Changed", handler::vpc::delete;

    GET "/v1/endpoint-services" Read "List the endpoint services, with `search` those with this text in a name", &["search"], None, "EndpointServiceList", handler::endpoint::services;
    POST "/v1/endpoint-services" Write "Register an endpoint service; with `replace` change it in place", &["dry_run", "confirm", "force", "caller", "replace"], Some("EndpointService"), "Changed", handler::endpoint::add_service;
    GET "/v1/endpoint-services/{name}" Read "Show an endpoint service", &[], None, "EndpointServiceItem", handler::endpoint::show_service;
    DELETE "/v1/endpoint-services/{name}" Write "Delete an endpoint service", CHANGE, None, "Changed", handler::endpoint::delete_service;

    GET "/v1/endpoints" Read "List the endpoints", &[], None, "EndpointList", handler::endpoint::list;
    POST "/v1/endpoints" Write "Add an endpoint; a repetition with the same client token changes nothing", CHANGE, Some("Endpoint"), "EndpointAdded", handler::endpoint::add;
    GET "/v1/endpoints/{name}" Read "Show an endpoint and the state of its zones", &[], None, "EndpointItem", handler::endpoint::show;
    DELETE "/v1/endpoints/{name}" Write "Delete an endpoint; its addresses are silent", CHANGE, None, "Changed", handler::endpoint::delete;

    GET "/v1/certificates" Read "List the certificates", &[], None, "CertificateList", handler::certificate::list;
    POST "/v1/certificates" Write "Add a certificate; with `replace` renew it in place", &["dry_run", "confirm", "force", "caller", "replace"], Some("Certificate"), "Changed", handler::certificate::add;
    GET "/v1/certificates/{name}" Read "Show a certificate", &[], None, "CertificateItem", handler::certificate::show;
    DELETE "/v1/certificates/{name}" Write "Delete a certificate", CHANGE, None, "Changed", handler::certificate::delete;

    GET "/v1/domains" Read "List the domains", &[], None, "DomainList", handler::domain::list;
    POST "/v1/domains" Write "Add a domain; with `replace` change it in place", &["dry_run", "confirm", "force", "caller", "replace"], Some("Domain"), "Changed", handler::domain::add;
    GET "/v1/domains/{host}" Read "Show a domain", &[], None, "DomainItem", handler::domain::show;
    DELETE "/v1/domains/{host}" Write "Delete a domain", CHANGE, None, "Changed", handler::domain::delete;
    GET "/v1/domains/{host}/check" Read "Check name resolution, listener and certificate of a domain", &[], None, "Check", handler::check::check;

    GET "/v1/services" Read "List the services", &[], None, "ServiceList", handler::service::list;
    POST "/v1/services" Write "Add a service; the answer carries its token, once", CHANGE, Some("Service"), "ServiceAdded", handler::service::add;
    GET "/v1/services/{name}" Read "Show a service, with `examples` also how to call it", &["examples"], None, "ServiceItem", handler::service::show;
    PATCH "/v1/services/{name}" Write "Change some fields of a service; null takes one back to its default", CHANGE, Some("ServicePatch"), "ServiceAdded", handler::service::update;
    DELETE "/v1/services/{name}" Write "Delete a service", CHANGE, None, "Changed", handler::service::delete;
    POST "/v1/services/{name}/token" Write "Replace the token; the answer carries the new one, once", CHANGE, Some("Token"), "ServiceAdded", handler::service::rotate;

    GET "/v1/routes" Read "List the routes", &[], None, "RouteList", handler::route::list;
    POST "/v1/routes" Write "Add a route", CHANGE, Some("Route"), "Changed", handler::route::add;
    GET "/v1/routes/{name}" Read "Show a route", &[], None, "RouteItem", handler::route::show;
    PATCH "/v1/routes/{name}" Write "Change some fields of a route; null takes one back to its default", CHANGE, Some("RoutePatch"), "Changed", handler::route::update;
    PUT "/v1/routes/{name}" Write "Replace a route", CHANGE, Some("Route"), "Changed", handler::route::replace;
    DELETE "/v1/routes/{name}" Write "Delete a route", CHANGE, None, "Changed", handler::route::delete;

    POST "/v1/apply" Write "Make the configuration what a declarative file says", CHANGE, Some("Document"), "Applied", handler::store::apply;
    POST "/v1/confirm" Write "Keep the change that was made with `confirm`", &[], None, "Confirmed", handler::store::confirm;
    POST "/v1/diff" Read "What `apply` of this file would change, and whom it would keep out", &["caller"], Some("Document"), "Diff", handler::store::diff;
    GET "/v1/export" Read "The configuration as a declarative file; `with_secrets` only for who may write; `nft`: as an nftables ruleset", &["with_secrets", "nft"], None, "Export", handler::store::export;
    GET "/v1/history" Read "Generations, newest first", &[], None, "History", handler::store::history;
    POST "/v1/rollback" Write "Return to an earlier generation", CHANGE, Some("Rollback"), "Changed", handler::store::rollback;
};

/// All operations.
pub(super) fn all() -> &'static [Route] {
    ROUTES
}

/// The operation for a request, with the values of its `{…}` segments still escaped.
pub(super) fn find<'path>(
    method: &Method,
    path: &'path str,
) -> Result<(&'static Route, Vec<&'path str>), Refusal> {
    let mut other_methods = Vec::new();
    for route in ROUTES {
        let Some(values) = matches(route.path, path) else { continue };
        if route.method == *method {
            return Ok((route, values));
        }
        other_methods.push(route.method.as_str());
    }
    let path = crate::resource::clip(path);
    if other_methods.is_empty() {
        return Err(Refusal::new("unknown_path", "this path does not exist")
            .field("path", path)
            .remedy("see /v1/openapi.json"));
    }
    Err(Refusal::new("method_not_allowed", format!("{path} does not take this method"))
        .field("method", crate::resource::clip(method.as_str()))
        .limit(other_methods.join(", ")))
}

fn matches<'path>(pattern: &str, path: &'path str) -> Option<Vec<&'path str>> {
    let mut values = Vec::new();
    let (mut expected, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return Some(values),
            (Some(segment), Some(value)) if segment.starts_with('{') && !value.is_empty() => {
                values.push(value)
            }
            (Some(segment), Some(value)) if segment == value => {}
            (Some(_) | None, _) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{all, find};

    #[test]
    fn paths_find_their_operation_and_only_theirs() {
        let (route, values) = find(&Method::POST, "/v1/listeners/vpc%3Aa/open").unwrap();
        assert_eq!((route.path, values), ("/v1/listeners/{name}/open", vec!["vpc%3Aa"]));
        for path in ["/", "/v1", "/v1/listeners/", "/v1/listeners//allow", "/v1/listeners/a/b", "/v2/status"]
        {
            assert_eq!(find(&Method::GET, path).err().unwrap().code, "unknown_path", "{path}");
        }
        let refusal = find(&Method::PUT, "/v1/listeners").err().unwrap();
        assert_eq!(
            (refusal.code.as_str(), refusal.limit.as_deref()),
            ("method_not_allowed", Some("GET, POST"))
        );
    }

    /// The command line says with every change where its caller comes from; a route that does not take that refuses
    /// everybody who works over SSH.
    #[test]
    fn every_change_takes_what_changes_take() {
        for route in all().iter().filter(|route| route.access == super::Access::Write) {
            // These change no configuration.
            if matches!(route.path, "/v1/confirm" | "/v1/bans" | "/v1/bans/{source}") {
                continue;
            }
            for parameter in super::CHANGE {
                assert!(route.query.contains(parameter), "{} {}: {parameter}", route.method, route.path);
            }
        }
    }

    #[test]
    fn no_operation_stands_twice() {
        for (index, route) in all().iter().enumerate() {
            let same = |other: &&super::Route| other.path == route.path && other.method == route.method;
            assert_eq!(all().iter().position(|other| same(&other)), Some(index), "{}", route.path);
        }
    }
}
