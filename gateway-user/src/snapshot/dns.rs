//! Pure: what the name servers answer. The same names mean different addresses to different askers, so there is a view
//! for every private network, and one for everybody else.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::base::Name;

/// The answers of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsPlan {
    /// Of every zone's SOA: the low 32 bits of the generation, so that it rises with every change.
    pub serial: u32,
    /// Seconds that an answer, also a negative one, may be kept.
    pub ttl: u32,
    /// The outsiders' view first, then private networks by name.
    pub views: Vec<Arc<DnsView>>,
}

/// What is answered to whoever asks at the same place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsView {
    /// `None`: outside every private network. Where those ask is a setting of the process.
    pub vpc: Option<Name>,
    /// Where the clients of the private network ask.
    pub place: Option<DnsPlace>,
    /// By origin. A name belongs to the zone with the longest origin that it ends in.
    pub zones: Vec<DnsZone>,
}

/// Port 53 of an address, for packets that come in by one interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnsPlace {
    pub interface: String,
    pub address: IpAddr,
}

/// A subtree of names that the gateway has the last word on. Names are in lower case, without a trailing dot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsZone {
    pub origin: String,
    /// `origin` is `*.example.org`: every name with one label in its place is a zone of its own, with the same records.
    pub wildcard: bool,
    /// Of the NS record, and the primary of the SOA.
    pub name_server: String,
    /// By whole name.
    pub records: BTreeMap<String, Vec<DnsData>>,
}

/// One record's data; a CNAME stands alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsData {
    Address(IpAddr),
    /// Left out while it cannot be reached there, unless nothing else is left.
    Watched {
        interface: String,
        address: IpAddr,
    },
    /// The addresses that an interface has at the moment.
    Interface {
        interface: String,
        v4: bool,
        v6: bool,
    },
    /// A CNAME.
    Alias(String),
}

// === impl DnsPlan ===

impl DnsPlan {
    /// The view of a private network, or of everybody else.
    #[must_use]
    pub fn view(&self, vpc: Option<&Name>) -> Option<&Arc<DnsView>> {
        self.views.iter().find(|view| view.vpc.as_ref() == vpc)
    }
}
