//! Random edits of everything but the streams' own route, service, domain and certificate. Each is accepted and changes
//! something, so the source keeps a list of what it has made.

use std::collections::BTreeMap;

use harness::{Authority, Leaf, random::Random};
use serde_json::{Value, json};

use crate::control::Edit;

/// Entries that the streams' listener has besides those that admit the streams; its limit is 15.
const MOST_ENTRIES: usize = 9;
/// Objects of a kind.
const MOST: usize = 40;

/// The source of edits.
pub(super) struct Edits {
    random: Random,
    next: u64,
    leaves: Vec<Leaf>,
    services: Vec<String>,
    routes: Vec<(String, String)>,
    domains: Vec<(String, String)>,
    certificates: Vec<String>,
    listeners: Vec<(String, bool)>,
    entries: Vec<String>,
    /// Whether `127.0.0.0/8` is written as its two halves now.
    halves: bool,
    told: BTreeMap<String, usize>,
}

// === impl Edits ===

impl Edits {
    pub(super) fn new(random: Random) -> Self {
        let authority = Authority::new();
        let leaves = (0..4).map(|_| authority.leaf(&["*.other.test"])).collect();
        Self {
            random,
            next: 0,
            leaves,
            services: Vec::new(),
            routes: Vec::new(),
            domains: Vec::new(),
            certificates: Vec::new(),
            listeners: Vec::new(),
            entries: Vec::new(),
            halves: false,
            told: BTreeMap::new(),
        }
    }

    /// How many of each kind there were.
    pub(super) fn told(&self) -> String {
        let kinds: Vec<String> = self.told.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        kinds.join(", ")
    }

    /// The next edit.
    pub(super) fn next(&mut self) -> Edit {
        loop {
            let edit = match self.random.below(6) {
                0 => self.service(),
                1 => self.route(),
                2 => self.certificate(),
                3 => self.domain(),
                4 => self.entry(),
                _ => self.listener(),
            };
            if let Some(edit) = edit {
                let object =
                    edit.path.split('/').nth(2).unwrap_or_default().split('?').next().unwrap_or_default();
                let object = if edit.path.ends_with("/allow") { "allow" } else { object };
                *self.told.entry(format!("{} {object}", edit.method)).or_default() += 1;
                return edit;
            }
        }
    }

    fn name(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}{}", self.next)
    }

    /// Whether to make another one of a kind of which there are so many.
    fn grows(&mut self, count: usize) -> bool {
        count == 0 || (count < MOST && self.random.chance(45))
    }

    fn service(&mut self) -> Option<Edit> {
        if self.grows(self.services.len()) {
            let name = self.name("s");
            self.services.push(name.clone());
            let body = json!({ "name": name, "instances": ["127.0.0.1:9"], "qps": self.next });
            return Some(edit("POST", "/v1/services".into(), body));
        }
        let index = self.random.below(self.services.len());
        let name = self.services[index].clone();
        if self.random.chance(30) {
            return Some(edit("POST", format!("/v1/services/{name}/token"), json!({})));
        }
        if self.random.chance(50) {
            self.next += 1;
            let body = json!({ "body_limit": 1000 + self.next, "instances": ["127.0.0.1:9", format!("127.0.0.1:{}", 10 + self.next)] });
            return Some(edit("PATCH", format!("/v1/services/{name}"), body));
        }
        if self.routes.iter().any(|(_, service)| *service == name) {
            return None;
        }
        self.services.swap_remove(index);
        Some(edit("DELETE", format!("/v1/services/{name}"), Value::Null))
    }

    fn route(&mut self) -> Option<Edit> {
        if self.services.is_empty() {
            return None;
        }
        let service = self.services[self.random.below(self.services.len())].clone();
        if self.grows(self.routes.len()) {
            let name = self.name("r");
            self.routes.push((name.clone(), service.clone()));
            return Some(edit("POST", "/v1/routes".into(), self.route_body(&name, &service)));
        }
        let index = self.random.below(self.routes.len());
        let name = self.routes[index].0.clone();
        if self.random.chance(50) {
            self.routes[index].1.clone_from(&service);
            self.next += 1;
            return Some(edit("PUT", format!("/v1/routes/{name}"), self.route_body(&name, &service)));
        }
        self.routes.swap_remove(index);
        Some(edit("DELETE", format!("/v1/routes/{name}"), Value::Null))
    }

    fn route_body(&self, name: &str, service: &str) -> Value {
        json!({ "name": name, "path_prefix": format!("/other/{}", self.next), "services": [service] })
    }

    fn certificate(&mut self) -> Option<Edit> {
        if self.grows(self.certificates.len()) {
            let name = self.name("c");
            self.certificates.push(name.clone());
            return Some(edit("POST", "/v1/certificates".into(), self.certificate_body(&name)));
        }
        let index = self.random.below(self.certificates.len());
        let name = self.certificates[index].clone();
        if self.domains.iter().any(|(_, certificate)| *certificate == name) {
            return None;
        }
        self.certificates.swap_remove(index);
        Some(edit("DELETE", format!("/v1/certificates/{name}"), Value::Null))
    }

    fn certificate_body(&mut self, name: &str) -> Value {
        let leaf = self.leaves[self.random.below(self.leaves.len())].clone();
        json!({ "name": name, "chain": leaf.chain, "key": leaf.key })
    }

    fn domain(&mut self) -> Option<Edit> {
        if self.certificates.is_empty() {
            return None;
        }
        let certificate = self.certificates[self.random.below(self.certificates.len())].clone();
        let body = |host: &str, only: bool| json!({ "host": host, "exposure": "public", "cert": certificate, "https_only": only });
        if self.grows(self.domains.len()) {
            let host = format!("{}.other.test", self.name("d"));
            self.domains.push((host.clone(), certificate.clone()));
            return Some(edit("POST", "/v1/domains".into(), body(&host, false)));
        }
        let index = self.random.below(self.domains.len());
        let host = self.domains[index].0.clone();
        self.domains.swap_remove(index);
        Some(edit("DELETE", format!("/v1/domains/{host}"), Value::Null))
    }

    /// Edits of the streams' own allowlist that go on to admit them: others' entries come and go, and the one that
    /// admits them is replaced by its halves and back.
    fn entry(&mut self) -> Option<Edit> {
        let path = "/v1/listeners/front/allow".to_owned();
        if self.random.chance(25) {
            self.halves = !self.halves;
            let mut entries = self.entries.clone();
            let own: &[&str] = if self.halves { &["127.0.0.0/9", "127.128.0.0/9"] } else { &["127.0.0.0/8"] };
            entries.extend(own.iter().map(|&cidr| cidr.to_owned()));
            return Some(edit("PUT", path, json!({ "cidrs": entries })));
        }
        if self.entries.is_empty() || (self.entries.len() < MOST_ENTRIES && self.random.chance(50)) {
            self.next += 1;
            let cidr = format!("10.{}.{}.0/24", self.next / 256 % 256, self.next % 256);
            self.entries.push(cidr.clone());
            return Some(edit("POST", path, json!({ "cidrs": cidr })));
        }
        let index = self.random.below(self.entries.len());
        let cidr = self.entries.swap_remove(index);
        Some(edit("DELETE", path, json!({ "cidrs": cidr })))
    }

    fn listener(&mut self) -> Option<Edit> {
        if self.grows(self.listeners.len() * 4) {
            let name = self.name("l");
            self.listeners.push((name.clone(), false));
            // Ports may come again: the listener that had one may be gone.
            let address = format!("127.0.{}.{}", 1 + self.next / 200, 1 + self.next % 200);
            let body = json!({
                "name": name, "exposure": "public", "interface": "lo", "addresses": [address],
                "http": 9080, "https": 9443, "allow": ["127.0.0.0/8"],
            });
            return Some(edit("POST", "/v1/listeners".into(), body));
        }
        let index = self.random.below(self.listeners.len());
        let (name, open) = self.listeners[index].clone();
        if self.random.chance(60) {
            self.listeners[index].1 = !open;
            let verb = if open { "close" } else { "open" };
            return Some(edit("POST", format!("/v1/listeners/{name}/{verb}"), Value::Null));
        }
        self.listeners.swap_remove(index);
        Some(edit("DELETE", format!("/v1/listeners/{name}"), Value::Null))
    }
}

fn edit(method: &'static str, path: String, body: Value) -> Edit {
    Edit { method, path, body }
}
