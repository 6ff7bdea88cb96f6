//! Pure: addresses of instances' names, kept for seconds, and longer while no resolver answers.

use std::{collections::HashMap, net::IpAddr, rc::Rc, time::Duration};

/// How long an answer is taken for true: so long a moved instance may still be looked for in its old place. The
/// system's resolver tells no lifetimes, and Kubernetes' DNS gives 5 s too.
const FRESH: Duration = Duration::from_secs(5);
/// How long an old answer helps while the resolver fails: longer than most outages of one.
const STALE: Duration = Duration::from_secs(3600);
/// How long a failed lookup is not tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Names kept. Instances are configured by operators, so this is a bound against mistakes, not against clients.
const NAMES_MAX: usize = 4096;

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Use it.
    Fresh(Rc<[IpAddr]>),
    /// Look again; these may do meanwhile.
    Stale(Rc<[IpAddr]>),
    /// Nothing, and the last lookup failed a moment ago.
    Failed,
    Unknown,
}

/// The names of one thread. Times are durations since any fixed moment.
#[derive(Default)]
pub(super) struct Names {
    entries: HashMap<Box<str>, Entry>,
}

struct Entry {
    addresses: Option<Rc<[IpAddr]>>,
    /// When `addresses` came.
    seen: Duration,
    /// When a lookup failed last.
    failed: Option<Duration>,
}

// === impl Names ===

impl Names {
    pub(super) fn get(&self, name: &str, now: Duration) -> Known {
        let Some(entry) = self.entries.get(name) else { return Known::Unknown };
        let paused = entry.failed.is_some_and(|at| now.saturating_sub(at) < PAUSE);
        let age = now.saturating_sub(entry.seen);
        match &entry.addresses {
            // While the resolver fails the old answer is as good as it gets.
            Some(addresses) if age < FRESH || (paused && age < STALE) => Known::Fresh(Rc::clone(addresses)),
            Some(addresses) if age < STALE => Known::Stale(Rc::clone(addresses)),
            _ if paused => Known::Failed,
            _ => Known::Unknown,
        }
    }

    /// Notes what a lookup found; an empty answer is a failed one.
    pub(super) fn put(&mut self, name: &str, found: Option<Rc<[IpAddr]>>, now: Duration) {
        if self.entries.len() >= NAMES_MAX && !self.entries.contains_key(name) {
            self.entries.retain(|_, entry| now.saturating_sub(entry.seen) < FRESH);
            if self.entries.len() >= NAMES_MAX {
                return;
            }
        }
        match found.filter(|addresses| !addresses.is_empty()) {
            Some(addresses) => {
                let entry = Entry { addresses: Some(addresses), seen: now, failed: None };
                self.entries.insert(name.into(), entry);
            }
            None => {
                let fresh = || Entry { addresses: None, seen: now, failed: None };
                self.entries.entry(name.into()).or_insert_with(fresh).failed = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, rc::Rc, time::Duration};

    use super::{FRESH, Known, NAMES_MAX, Names, PAUSE, STALE};

    fn addresses(text: &str) -> Rc<[IpAddr]> {
        Rc::new([text.parse().unwrap()])
    }

    #[test]
    fn an_answer_is_fresh_for_seconds_and_helps_out_for_an_hour() {
        let mut names = Names::default();
        let start = Duration::from_secs(1000);
        let one = addresses("10.0.0.1");
        assert_eq!(names.get("a", start), Known::Unknown);
        names.put("a", Some(Rc::clone(&one)), start);
        assert_eq!(names.get("a", start + FRESH - PAUSE), Known::Fresh(Rc::clone(&one)));
        assert_eq!(names.get("a", start + FRESH), Known::Stale(Rc::clone(&one)));
        // The resolver fails: no hurry to ask again, and the old answer stands in.
        names.put("a", None, start + FRESH);
        assert_eq!(names.get("a", start + FRESH), Known::Fresh(Rc::clone(&one)));
        assert_eq!(names.get("a", start + FRESH + PAUSE), Known::Stale(Rc::clone(&one)));
        assert_eq!(names.get("a", start + STALE), Known::Unknown);
        let two = addresses("10.0.0.2");
        names.put("a", Some(Rc::clone(&two)), start + STALE);
        assert_eq!(names.get("a", start + STALE), Known::Fresh(two));
    }

    #[test]
    fn a_name_that_fails_is_left_alone_for_a_moment() {
        let mut names = Names::default();
        let start = Duration::from_secs(7);
        names.put("a", Some(Rc::new([])), start);
        assert_eq!(names.get("a", start), Known::Failed);
        assert_eq!(names.get("a", start + PAUSE), Known::Unknown);
    }

    #[test]
    fn the_number_of_names_is_bounded() {
        let mut names = Names::default();
        let start = Duration::from_secs(1);
        for number in 0..NAMES_MAX + 10 {
            names.put(&number.to_string(), Some(addresses("10.0.0.1")), start);
        }
        assert_eq!(names.entries.len(), NAMES_MAX);
        assert_eq!(names.get(&NAMES_MAX.to_string(), start), Known::Unknown, "the newest is not kept");
        names.put("late", Some(addresses("10.0.0.1")), start + FRESH);
        assert_eq!(names.entries.len(), 1, "old ones made room");
    }
}
