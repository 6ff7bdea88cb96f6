//! Why a packet passed or was dropped: a closed set with stable names and stable counter slots.

/// What the filter does with a packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pass,
    Drop,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $value:literal, $name:literal, $action:ident;)+) => {
        /// The reason of a verdict. The numbers are counter slots and appear in events: add at the end, never renumber.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $variant = $value,)+ }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name used by the CLI, the API, metrics, logs and documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What this reason does to the packet.
            pub const fn action(self) -> Action {
                match self { $(Self::$variant => Action::$action,)+ }
            }

            /// The reason with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($value => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// Not addressed to a listener: none of the filter's business.
    NotListener = 0, "not_listener", Pass;
    /// The source is on the listener's allowlist.
    Allowed = 1, "allowed", Pass;
    /// ICMP echo that the endpoint answers (a public endpoint answers everybody, a private one its allowlist).
    Echo = 2, "echo", Pass;
    /// An established flow of an entry that is being drained.
    Draining = 3, "draining", Pass;
    /// The source is not on the listener's allowlist.
    NotAllowed = 4, "not_allowed", Drop;
    /// The listener is closed (the portal is off).
    Closed = 5, "closed", Drop;
    /// A listener's endpoint, but on an interface or VLAN that is not the listener's.
    WrongInterface = 6, "wrong_interface", Drop;
    /// A TCP fragment towards a listener.
    Fragment = 7, "fragment", Drop;
    /// The headers end before the ports and flags that a verdict needs, towards a listener's address.
    Truncated = 8, "truncated", Drop;
    /// More than eight IPv6 extension headers, towards a listener's address.
    ExtChain = 9, "ext_chain", Drop;
    /// More than two VLAN tags, towards a listener, or so many that nothing behind them can be read.
    VlanDepth = 10, "vlan_depth", Drop;
    /// A new connection from an entry that is being drained.
    DrainingNew = 11, "draining_new", Drop;
    /// An endpoint that answers nothing at all (a deleted private network's).
    Silent = 12, "silent", Drop;
    /// The tables are incomplete; the packet might be for a listener, so it is dropped.
    TableMissing = 13, "table_missing", Drop;
    /// The source is not on the allowlist, and the listener is monitored: it would have been dropped.
    Monitored = 14, "monitored", Pass;
    /// A new connection of an allowed source that has used up its share of the listener's budget.
    SynBudget = 15, "syn_budget", Drop;
    /// An allowed source that is banned.
    Banned = 16, "banned", Drop;
    /// The listener's large list is not there; the source might be on it or not, so the packet is dropped.
    ListMissing = 17, "list_missing", Drop;
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn numbers_are_dense_names_unique_and_both_round_trip() {
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
            assert_eq!(Reason::from_number(*reason as u8), Some(*reason));
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
        assert_eq!(Reason::from_number(Reason::ALL.len() as u8), None);
        assert!(Reason::ALL.len() <= crate::counters::REASONS);
    }
}
