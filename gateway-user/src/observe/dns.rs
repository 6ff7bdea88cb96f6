//! What the name server tells operators: queries by view and outcome, its sockets, and what it would answer.
//!
//! `dns` fills these types, `api` reads them through [`NameSource`], the metrics read the counters.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::Serialize;

use crate::base::{Generation, Refusal};

/// How the API reads the name server.
pub trait NameSource {
    /// Its sockets and the generation that it answers from.
    fn status(&self) -> NameStatus;

    /// What would be answered to a client of a private network, or to one outside.
    ///
    /// # Errors
    /// The name or type is none, or there is no such view.
    fn query(&self, name: &str, kind: &str, vpc: Option<&str>) -> Result<NameAnswer, Refusal>;

    /// Every record of a private network's view, of the outsiders' view, or of all.
    ///
    /// # Errors
    /// There is no such view.
    fn records(&self, vpc: Option<&str>) -> Result<Vec<NameRecord>, Refusal>;
}

/// The name server at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NameStatus {
    pub generation: Generation,
    pub sockets: Vec<NameSocket>,
}

/// A place where names are asked for, over UDP and TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NameSocket {
    /// `public`, or the name of the private network behind `vpc:`.
    pub view: String,
    /// `None`: every interface that the address is reached by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    pub address: SocketAddr,
    /// `answering` or `failed`.
    pub state: &'static str,
    /// What stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An answer, in the words of `dig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NameAnswer {
    pub generation: Generation,
    pub view: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// `NOERROR`, `NXDOMAIN` or `REFUSED`.
    pub status: &'static str,
    pub authoritative: bool,
    /// Records as in a zone file.
    pub answer: Vec<String>,
    pub authority: Vec<String>,
    pub additional: Vec<String>,
}

/// One record of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NameRecord {
    pub view: String,
    pub zone: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub ttl: u32,
    pub data: String,
    /// It is left out of answers: nothing is reached there now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// Outcomes that are counted. The first ones are response codes.
pub const OUTCOMES: [&str; 9] =
    ["NOERROR", "NXDOMAIN", "REFUSED", "FORMERR", "NOTIMP", "BADVERS", "SERVFAIL", "ignored", "rate_limited"];

/// The counters of one view. They outlive its sockets, so counts go on when a network comes back.
#[derive(Debug, Default)]
pub struct ViewTraffic {
    outcomes: [AtomicU64; OUTCOMES.len()],
    truncated: AtomicU64,
}

/// The counters of all views.
#[derive(Clone, Debug, Default)]
pub struct NameTraffic(Arc<Mutex<BTreeMap<String, Arc<ViewTraffic>>>>);

// === impl NameTraffic ===

impl NameTraffic {
    /// The counters of a view, made on its first day.
    #[must_use]
    pub fn view(&self, view: &str) -> Arc<ViewTraffic> {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(views.entry(view.to_owned()).or_default())
    }

    /// All counters at this moment: view, counts in the order of [`OUTCOMES`], truncated answers.
    #[must_use]
    pub fn read(&self) -> Vec<(String, Vec<u64>, u64)> {
        let views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |traffic: &ViewTraffic| traffic.outcomes.iter().map(|count| count.load(Relaxed)).collect();
        views
            .iter()
            .map(|(view, traffic)| (view.clone(), read(traffic), traffic.truncated.load(Relaxed)))
            .collect()
    }
}

// === impl ViewTraffic ===

impl ViewTraffic {
    /// Counts a query.
    pub fn count(&self, outcome: &str) {
        let place = OUTCOMES.iter().position(|one| *one == outcome);
        if let Some(counter) = place.and_then(|place| self.outcomes.get(place)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts an answer that did not fit into a datagram.
    pub fn count_truncated(&self) {
        self.truncated.fetch_add(1, Relaxed);
    }
}
