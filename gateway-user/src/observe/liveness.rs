//! Which addresses of the gateway cannot be reached now: the interface of a zone is down or gone. DNS leaves them out
//! of its answers. Written once a second by the control thread, read by everybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use arc_swap::ArcSwap;

/// Dead addresses by interface: two networks may have the same address.
pub type Dead = BTreeMap<String, BTreeSet<IpAddr>>;

/// The set of dead addresses, shared. Empty at first: what nobody has looked at is taken for alive.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<ArcSwap<Dead>>);

impl Liveness {
    /// Whether `address` on `interface` is known to be dead.
    #[must_use]
    pub fn is_dead(&self, interface: &str, address: IpAddr) -> bool {
        self.0.load().get(interface).is_some_and(|addresses| addresses.contains(&address))
    }

    /// All dead addresses.
    #[must_use]
    pub fn dead(&self) -> Arc<Dead> {
        self.0.load_full()
    }

    /// Takes a new set; returns whether it differs from the one before.
    pub fn update(&self, dead: Dead) -> bool {
        let differs = **self.0.load() != dead;
        if differs {
            self.0.store(Arc::new(dead));
        }
        differs
    }
}

#[cfg(test)]
mod tests {
    use super::{Dead, Liveness};

    #[test]
    fn an_address_is_dead_on_its_own_interface_only() {
        let liveness = Liveness::default();
        let address = "10.0.0.5".parse().unwrap();
        assert!(!liveness.is_dead("a0", address));
        let dead: Dead = [("a0".to_owned(), [address].into())].into();
        assert!(liveness.clone().update(dead.clone()));
        assert!(liveness.is_dead("a0", address) && !liveness.is_dead("b0", address));
        assert!(!liveness.update(dead), "the same set is no news");
        assert!(liveness.update(Dead::new()) && !liveness.is_dead("a0", address));
    }
}
