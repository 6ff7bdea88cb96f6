//! Pure: which service a path leads to. Order of precedence: exact host, wildcard host, any host; then the longest
//! path prefix (whole segments); then more header conditions; then a method condition; then the route's name.

use std::{cmp::Reverse, sync::Arc};

use crate::{
    base::Name,
    proxy::http::head::{Fields, Head},
    snapshot::http::Route,
};

/// The prefix under which every service is reached by its name.
pub(crate) const PREDICT: &str = "/api/predict/";

/// How closely a route names the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostMatch {
    Any,
    Wildcard,
    Exact,
}

/// What decides between two routes that both match; greater wins. The name is last so that the order is total.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Summary {
    pub(crate) host: HostMatch,
    /// Length of the path prefix without a trailing slash.
    pub(crate) prefix: usize,
    pub(crate) headers: usize,
    pub(crate) method: bool,
    pub(crate) name: Reverse<Name>,
}

/// A route as the matcher keeps it, with the services that are visible where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) route: Arc<Route>,
    pub(crate) summary: Summary,
    /// (index of the service, upper bound of its share of the weights); empty when no service is visible here.
    pub(crate) shares: Vec<(usize, u64)>,
    /// Index of the service that gets copies.
    pub(crate) mirror: Option<usize>,
    /// Step through the weights: coprime to their sum, so that any run of requests is spread evenly.
    step: u64,
}

// === impl Entry ===

impl Entry {
    /// `service` gives the index of a service, or none where it is not visible.
    pub(crate) fn new(route: &Arc<Route>, host: HostMatch, service: impl Fn(&Name) -> Option<usize>) -> Self {
        let mut total = 0;
        let mut shares = Vec::with_capacity(route.backends.len());
        for backend in route.backends.iter().filter(|backend| backend.weight > 0) {
            if let Some(index) = service(&backend.service) {
                total += u64::from(backend.weight);
                shares.push((index, total));
            }
        }
        let summary = Summary {
            host,
            prefix: trimmed(&route.path_prefix).len(),
            headers: route.headers.len(),
            method: !route.methods.is_empty(),
            name: Reverse(route.name.clone()),
        };
        Self { route: Arc::clone(route), summary, shares, mirror: None, step: step(total) }
    }

    /// The same with the service that gets copies, which needs not be visible where the route stands: nobody there sees
    /// its answers.
    pub(crate) fn mirrored(mut self, service: impl Fn(&Name) -> Option<usize>) -> Self {
        self.mirror = self.route.mirror.as_ref().and_then(|mirror| service(&mirror.service));
        self
    }

    /// Whether this route takes the request.
    pub(crate) fn matches<F: Fields>(&self, head: &Head<'_, F>) -> bool {
        let route = &*self.route;
        under(head.path, &route.path_prefix).is_some()
            && (route.methods.is_empty() || route.methods.iter().any(|method| method == head.method))
            && route
                .headers
                .iter()
                .all(|(name, value)| head.fields.any(name).any(|present| present == value.as_bytes()))
    }

    /// The service for the `turn`th request, by weight.
    pub(crate) fn pick(&self, turn: u64) -> Option<usize> {
        let (_, total) = *self.shares.last()?;
        let point = turn.wrapping_mul(self.step) % total;
        self.shares.iter().find(|(_, bound)| point < *bound).map(|(index, _)| *index)
    }
}

/// Sorts routes so that the first that matches is the right one.
pub(crate) fn order(entries: &mut [Entry]) {
    entries.sort_by(|left, right| right.summary.cmp(&left.summary));
}

/// What follows `prefix` in `path`, if `path` lies under it: empty or beginning with `/`.
pub(crate) fn under<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(trimmed(prefix))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// The service's name in `/api/predict/<service>/…`, the length of the prefix, and the rest.
pub(crate) fn predict(path: &str) -> Option<(&str, usize, &str)> {
    let rest = path.strip_prefix(PREDICT)?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (name, rest) = rest.split_at_checked(end)?;
    (!name.is_empty()).then_some((name, PREDICT.len() + end, rest))
}

fn trimmed(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

/// About 0.618 of `total`, coprime to it.
fn step(total: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let start = (total.saturating_mul(618) / 1000).max(1);
    (start..=start + total).find(|candidate| gcd(*candidate, total) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Entry, HostMatch, order, predict, under};
    use crate::{
        base::Name,
        proxy::http::{
            framing::Version,
            head::{Head, List},
        },
        snapshot::http::{Backend, Route},
    };

    fn route(name: &str, prefix: &str) -> Route {
        Route {
            gateway: Name::new("default").unwrap(),
            name: Name::new(name).unwrap(),
            host: None,
            path_prefix: prefix.into(),
            methods: vec![],
            headers: vec![],
            strip_prefix: false,
            backends: vec![Backend { service: Name::new("s").unwrap(), weight: 1 }],
            mirror: None,
            retry_unsafe: false,
        }
    }

    fn entry(route: Route, host: HostMatch) -> Entry {
        Entry::new(&Arc::new(route), host, |_| Some(0))
    }

    #[test]
    fn prefixes_match_whole_segments() {
        assert_eq!(under("/a", "/a"), Some(""));
        assert_eq!(under("/a/b", "/a"), Some("/b"));
        assert_eq!(under("/a/b", "/a/"), Some("/b"));
        assert_eq!(under("/ab", "/a"), None);
        assert_eq!(under("/x", "/"), Some("/x"));
    }

    #[test]
    fn predict_takes_one_segment_as_the_name() {
        assert_eq!(predict("/api/predict/test"), Some(("test", 17, "")));
        assert_eq!(predict("/api/predict/test/"), Some(("test", 17, "/")));
        assert_eq!(predict("/api/predict/test/v1/chat"), Some(("test", 17, "/v1/chat")));
        assert_eq!(predict("/api/predict/"), None);
        assert_eq!(predict("/api/predictor/test"), None);
    }

    #[test]
    fn precedence_is_host_then_prefix_then_headers_then_method_then_name() {
        let header = Route { headers: vec![("x".into(), "1".into())], ..route("header", "/a") };
        let method = Route { methods: vec!["GET".into()], ..route("method", "/a") };
        let mut entries = vec![
            entry(route("b", "/a"), HostMatch::Any),
            entry(route("a", "/a"), HostMatch::Any),
            entry(method, HostMatch::Any),
            entry(header, HostMatch::Any),
            entry(route("longer", "/a/b"), HostMatch::Any),
            entry(route("wild", "/"), HostMatch::Wildcard),
            entry(route("exact", "/"), HostMatch::Exact),
        ];
        order(&mut entries);
        let names: Vec<&str> = entries.iter().map(|entry| entry.route.name.as_str()).collect();
        assert_eq!(names, ["exact", "wild", "longer", "header", "method", "a", "b"]);
    }

    #[test]
    fn methods_and_headers_are_conditions() {
        let route = Route {
            methods: vec!["POST".into()],
            headers: vec![("x-v".into(), "2".into())],
            ..route("r", "/")
        };
        let entry = entry(route, HostMatch::Any);
        let matches = |method, fields: &[(&str, &str)]| {
            entry.matches(&Head {
                method,
                path: "/p",
                authority: None,
                version: Version::Http11,
                fields: &List(fields),
            })
        };
        assert!(matches("POST", &[("x-v", "2")]) && matches("POST", &[("x-v", "1"), ("x-v", "2")]));
        assert!(
            !matches("GET", &[("x-v", "2")]) && !matches("POST", &[]) && !matches("POST", &[("x-v", "22")])
        );
    }

    #[test]
    fn weights_hold_exactly_over_their_sum_and_closely_over_any_run() {
        let backends = [("s1", 9), ("s2", 1), ("s3", 0), ("s4", 90)]
            .map(|(name, weight)| Backend { service: Name::new(name).unwrap(), weight });
        let route = Route { backends: backends.to_vec(), ..route("r", "/") };
        let index = |name: &Name| name.strip_prefix("s").and_then(|number| number.parse().ok());
        let entry = Entry::new(&Arc::new(route), HostMatch::Any, index);
        let count = |range: std::ops::Range<u64>, service| {
            range.filter(|turn| entry.pick(*turn) == Some(service)).count()
        };
        assert_eq!([1, 2, 3, 4].map(|service| count(50..150, service)), [9, 1, 0, 90]);
        assert!((80..=100).contains(&(count(0..10, 4) * 10)));
    }

    #[test]
    fn a_route_to_services_that_are_not_visible_leads_nowhere() {
        assert_eq!(Entry::new(&Arc::new(route("r", "/")), HostMatch::Any, |_| None).pick(0), None);
    }
}
