//! Pure: edits of listeners.

use std::sync::Arc;

use super::{
    Effect, Entries, ListenerRecord, State, exists, known_gateway, not_found, record::LAST_LISTENER_ID,
};
use crate::{
    base::{Name, Refusal},
    resource::{Kind, Listener, Patch},
};

impl State {
    pub(super) fn listener_add(&mut self, listener: Listener) -> Result<Effect, Refusal> {
        if self.listeners.contains_key(&listener.name) {
            return Err(exists(Kind::Listener, &listener.name, "choose another name or delete it first"));
        }
        let name = listener.name.clone();
        self.listener_put(listener)?;
        Ok(Effect::of(Kind::Listener, name))
    }

    /// Adds a listener or gives the one of that name another form; ids stay.
    pub(super) fn listener_put(&mut self, mut listener: Listener) -> Result<(), Refusal> {
        listener.validate()?;
        known_gateway(&listener.gateway)?;
        let allow = std::mem::take(&mut listener.allow);
        let name = listener.name.clone();
        match self.listeners.get_mut(&name) {
            Some(record) if record.listener == listener => {}
            Some(record) => Arc::make_mut(record).listener = listener,
            None => self.listener_insert(listener)?,
        }
        self.allow_set(&name, &allow, true).map(drop)
    }

    /// Adds a listener without entries.
    pub(super) fn listener_insert(&mut self, listener: Listener) -> Result<(), Refusal> {
        let id = self.free_listener_id()?;
        let name = listener.name.clone();
        let record = ListenerRecord {
            id,
            listener,
            entries: Entries::default(),
            draining: Vec::new(),
            last_entry: u8::MAX,
            monitor: None,
        };
        self.last_listener = id;
        self.listeners.insert(name, Arc::new(record));
        Ok(())
    }

    pub(super) fn listener_switch(&mut self, name: &Name, open: bool) -> Result<Effect, Refusal> {
        let record = self.listener_mut(name)?;
        if record.listener.open != open {
            Arc::make_mut(record).listener.open = open;
        }
        Ok(Effect::of(Kind::Listener, name))
    }

    /// Changes some fields.
    pub(super) fn listener_update(&mut self, name: &Name, patch: &Patch) -> Result<Effect, Refusal> {
        let record = self.listener_mut(name)?;
        let next = patch.apply(&record.listener)?;
        if record.listener != next {
            next.validate_own()?;
            mine(&record.listener, &next)?;
            Arc::make_mut(record).listener = next;
        }
        Ok(Effect::of(Kind::Listener, name))
    }

    pub(super) fn listener_delete(&mut self, name: &Name) -> Result<Effect, Refusal> {
        if let Some(vpc) = name.vpc()
            && self.listeners.contains_key(name)
        {
            return Err(Refusal::new(
                "in_use",
                format_args!("`{name}` is the listener of a private network"),
            )
            .field("listener", name)
            .remedy(format_args!("`gateway vpc delete {vpc}` removes the network and its listener")));
        }
        if let Some(endpoint) = name.endpoint()
            && self.listeners.contains_key(name)
        {
            return Err(Refusal::new("in_use", format_args!("`{name}` is the listener of an endpoint"))
                .field("listener", name)
                .remedy(format_args!(
                    "`gateway endpoint delete {endpoint}` removes the endpoint and its listeners"
                )));
        }
        match self.listeners.remove(name) {
            Some(_) => Ok(Effect::of(Kind::Listener, name)),
            None => Err(not_found(Kind::Listener, name)),
        }
    }

    pub(super) fn listener_mut(&mut self, name: &Name) -> Result<&mut Arc<ListenerRecord>, Refusal> {
        self.listeners.get_mut(name).ok_or_else(|| not_found(Kind::Listener, name))
    }

    /// The free id that was given back longest ago, roughly: the next one behind the last that was handed out.
    pub(super) fn free_listener_id(&mut self) -> Result<u16, Refusal> {
        let mut used: std::collections::BTreeSet<u16> =
            self.listeners.values().map(|record| record.id).collect();
        // What is there goes before what is remembered.
        if used.len() + self.silent.len() >= usize::from(LAST_LISTENER_ID) && !self.silent.is_empty() {
            self.silent.remove(0);
        }
        used.extend(self.silent.iter().map(|silent| silent.id));
        (self.last_listener + 1..=LAST_LISTENER_ID)
            .chain(1..=self.last_listener)
            .find(|id| !used.contains(id))
            .ok_or_else(|| {
                Refusal::new("limit", "there are as many listeners as the filter can count")
                    .field("listeners", used.len() + 1)
                    .limit(LAST_LISTENER_ID)
                    .remedy("delete one first")
            })
    }
}

/// Refuses to change what a private network or an endpoint says of its listeners.
fn mine(held: &Listener, next: &Listener) -> Result<(), Refusal> {
    let refused = |what: &str, remedy: &str| {
        Err(Refusal::new("fixed_field", format_args!("this field of `{}` is {what}'s", held.name))
            .field("listener", &held.name)
            .remedy(remedy))
    };
    if let Some(vpc) = held.name.vpc() {
        let own = Listener {
            open: held.open,
            limits: held.limits,
            proxy_protocol: held.proxy_protocol,
            trusted_forwarders: held.trusted_forwarders.clone(),
            ..next.clone()
        };
        if own != *held {
            return refused("the network", &format!("`gateway vpc update {vpc}` changes it"));
        }
    } else if held.name.endpoint().is_some() {
        // Its clients come straight from its network: there is no proxy that could speak for them.
        if (Listener { open: held.open, limits: held.limits, ..next.clone() }) != *held {
            return refused("the endpoint", "delete the endpoint and add it as it should be");
        }
    } else {
        next.validate()?;
    }
    Ok(())
}
