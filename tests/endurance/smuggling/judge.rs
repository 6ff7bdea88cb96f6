//! Pure: holds what became of a case against what must, and the logs of everybody against each other.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    Exchange,
    corpus::{Case, Field, Outcome, Run},
    lenient::Seen,
    peers::Noted,
};

/// Refusals after which nobody knows where the next request begins.
const UNFRAMED: [&str; 8] = [
    "bad_head",
    "bad_framing",
    "bad_length",
    "bad_chunk",
    "bad_version",
    "head_too_large",
    "target_too_long",
    "bad_expectation",
];

/// A case at one service.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) case: Arc<Case>,
    pub(super) run: Run,
    pub(super) exchange: Exchange,
}

/// A line of the gateway's access log.
#[derive(Clone, Debug)]
struct Line {
    id: String,
    port: u16,
    method: String,
    path: String,
    service: String,
    reason: String,
    status: u64,
    bytes_in: u64,
    forwarded: bool,
}

/// What everybody wrote down.
#[derive(Debug, Default)]
pub(super) struct Logs {
    lines: Vec<Line>,
    seen: Vec<(&'static str, Seen)>,
    noted: Vec<(&'static str, Noted)>,
}

// === impl Logs ===

impl Logs {
    pub(super) fn read(log: &str) -> Self {
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let lines = lines.filter(|line| line["request_id"].is_string()).map(|line| Line {
            id: text(&line, "request_id"),
            port: line["client_port"].as_u64().unwrap_or_default() as u16,
            method: text(&line, "method"),
            path: text(&line, "path"),
            service: text(&line, "service"),
            reason: text(&line, "reason"),
            status: line["status"].as_u64().unwrap_or_default(),
            bytes_in: line["bytes_in"].as_u64().unwrap_or_default(),
            forwarded: line["instance"].is_string(),
        });
        Self { lines: lines.collect(), ..Self::default() }
    }

    pub(super) fn add(&mut self, service: &'static str, seen: Vec<Seen>) {
        self.seen.extend(seen.into_iter().map(|seen| (service, seen)));
    }

    pub(super) fn note(&mut self, service: &'static str, noted: Vec<Noted>) {
        self.noted.extend(noted.into_iter().map(|noted| (service, noted)));
    }

    pub(super) fn forwarded(&self) -> usize {
        self.lines.iter().filter(|line| line.forwarded).count()
    }

    /// The invariant: what was read that was not forwarded, or was forwarded as something else.
    pub(super) fn strangers(&self) -> Vec<String> {
        let lines: HashMap<&str, &Line> =
            self.lines.iter().filter(|line| line.forwarded).map(|line| (line.id.as_str(), line)).collect();
        let mut faults = Vec::new();
        let mut once = HashSet::new();
        for (service, seen) in &self.seen {
            let Some((id, line)) = seen.field("x-request-id").and_then(|id| Some((id, lines.get(id)?)))
            else {
                faults.push(format!("STRANGER at {service}: {seen:?}"));
                continue;
            };
            if !once.insert(id) {
                faults.push(format!("TWICE at {service}: {seen:?}"));
            }
            let path =
                line.path.strip_prefix(&format!("/api/predict/{}", line.service)).unwrap_or(&line.path);
            let path = if path.is_empty() { "/" } else { path };
            let target = seen.target.split('?').next().unwrap_or_default();
            let whole = !seen.complete || seen.body.len() as u64 == line.bytes_in;
            if seen.method != line.method || target != path || line.service != *service || !whole {
                faults.push(format!("OTHER at {service}: {seen:?} is not {line:?}"));
            }
        }
        for (peer, noted) in &self.noted {
            if lines.get(noted.id.as_str()).is_none_or(|line| line.method != noted.method) {
                faults.push(format!("STRANGER at {peer} itself: {}", noted.line));
            }
        }
        faults
    }

    fn of(&self, port: u16) -> Vec<&Line> {
        self.lines.iter().filter(|line| line.port == port).collect()
    }

    fn seen(&self, line: &Line) -> Option<&Seen> {
        self.seen.iter().map(|(_, seen)| seen).find(|seen| seen.field("x-request-id") == Some(&line.id))
    }
}

// === impl Trial ===

impl Trial {
    /// What did not become of the case what must.
    pub(super) fn faults(&self, logs: &Logs) -> Option<String> {
        let lines = logs.of(self.exchange.port);
        let marker = self.run.path("marker");
        let (marker, own): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(|line| line.path == marker);
        let answered = marker.iter().any(|line| line.status == 200);
        let fault = match &self.case.outcome {
            Outcome::Refused(reasons) => self.refused(reasons, &own, !marker.is_empty()),
            Outcome::Broken(reasons) => self.broken(reasons, &own, !marker.is_empty(), logs),
            Outcome::Passed { method, target, body } => {
                let wanted = (method.as_str(), self.run.expected(target), self.run.expected(body));
                self.passed(&wanted, &own, logs).or_else(|| match (self.case.closed, answered) {
                    (false, false) => Some("the request behind it was not answered".to_owned()),
                    (true, true) => Some("the connection took another request".to_owned()),
                    _ => None,
                })
            }
        };
        let told = |lines: &[&Line]| {
            let told = lines
                .iter()
                .map(|line| format!("{} {} {} {}", line.method, line.path, line.status, line.reason));
            told.collect::<Vec<_>>().join("; ")
        };
        fault.map(|fault| {
            let answer = String::from_utf8_lossy(&self.exchange.answer);
            let answer: String = answer.chars().take(160).collect();
            format!(
                "{} at {}: {fault}\n    log: {}\n    answer: {answer:?}",
                self.case.name,
                self.run.service,
                told(&lines)
            )
        })
    }

    fn refused(&self, reasons: &[String], own: &[&Line], marker: bool) -> Option<String> {
        if own.iter().any(|line| line.forwarded) {
            return Some("it was forwarded".to_owned());
        }
        let reason = self.reason(own);
        if !reasons.contains(&reason) {
            return Some(format!("refused as `{reason}`, not as {reasons:?}"));
        }
        // Over HTTP/2 each stream is its own.
        let unframed = UNFRAMED.contains(&reason.as_str()) && !self.case.is_http2();
        match (unframed, marker, self.exchange.ended) {
            (true, true, _) => Some("what came behind it was taken for a request".to_owned()),
            (true, false, false) => Some("the connection is still open".to_owned()),
            _ => None,
        }
    }

    fn broken(&self, reasons: &[String], own: &[&Line], marker: bool, logs: &Logs) -> Option<String> {
        if own.iter().any(|line| logs.seen(line).is_some_and(|seen| seen.complete)) {
            return Some("it was completed upstream".to_owned());
        }
        let reason = self.reason(own);
        if !reasons.contains(&reason) {
            return Some(format!("broken off as `{reason}`, not as {reasons:?}"));
        }
        if self.case.is_http2() {
            return None;
        }
        // Where the rest of a chunk is waited for, it is we who gave up.
        let over = self.exchange.ended || reason == "client_gone";
        (marker || !over).then(|| "the connection went on".to_owned())
    }

    fn passed(
        &self,
        (method, target, body): &(&str, Vec<u8>, Vec<u8>),
        own: &[&Line],
        logs: &Logs,
    ) -> Option<String> {
        let [line] = own else { return Some(format!("{} requests of it", own.len())) };
        if !line.forwarded {
            return Some("it was not forwarded".to_owned());
        }
        let peer = logs.noted.iter().any(|(_, noted)| noted.id == line.id);
        let Some(seen) = logs.seen(line) else {
            // A peer may refuse what it does not like; that it saw this and nothing else is in its log.
            return (!peer).then(|| "nobody saw it".to_owned());
        };
        if seen.method != *method || seen.target.as_bytes() != target || seen.body != *body || !seen.complete
        {
            return Some(format!("seen as {seen:?}"));
        }
        // Peers have fields of their own.
        self.case.fields.iter().filter(|_| !peer).find_map(|field| match field {
            Field::With(name, value) => {
                let wrong = seen.field(name).map(str::as_bytes) != Some(&self.run.expected(value));
                wrong.then(|| format!("`{name}` is {:?}", seen.field(name)))
            }
            Field::Without(name) => seen.field(name).map(|value| format!("`{name}` is there: {value:?}")),
        })
    }

    /// How the gateway refused it: as the client was told, else as the log says; `reset` for a stream that was.
    fn reason(&self, own: &[&Line]) -> String {
        let answer = String::from_utf8_lossy(&self.exchange.answer);
        let head =
            answer.split("\r\n\r\n").find(|head| !head.starts_with("HTTP/1.1 100")).unwrap_or_default();
        let told = head.lines().find_map(|line| line.strip_prefix("x-gateway-error: "));
        let logged = own.first().map(|line| line.reason.as_str()).filter(|reason| !reason.is_empty());
        let reset = self.exchange.reset.then_some("reset");
        told.or(logged.filter(|_| self.case.is_http2())).or(reset).or(logged).unwrap_or("nothing").to_owned()
    }
}
