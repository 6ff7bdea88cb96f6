//! Pure: edits of accounts and grants, and whether a network may be attached for its owner.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Effect, State, exists, in_use, not_found};
use crate::{
    base::{Name, Refusal, Site},
    resource::{Account, Kind, Vpc, account::Grant, gateway::DEFAULT},
};

impl State {
    pub(super) fn account_add(&mut self, account: Account) -> Result<Effect, Refusal> {
        if account.name.as_str() == DEFAULT || self.accounts.contains_key(&account.name) {
            return Err(exists(Kind::Account, &account.name, "`gateway grant add` gives it more grants"));
        }
        let name = account.name.clone();
        self.account_put(account)?;
        Ok(Effect::of(Kind::Account, name))
    }

    /// Adds an account or gives the one of that name another form.
    pub(super) fn account_put(&mut self, account: Account) -> Result<(), Refusal> {
        if account.name.as_str() == DEFAULT {
            return Err(Refusal::new(
                "exists",
                "the gateway's own account is always there and grants itself all",
            )
            .field("account", DEFAULT)
            .remedy("leave it out"));
        }
        if self.accounts.get(&account.name).is_none_or(|held| **held != account) {
            self.accounts.insert(account.name.clone(), Arc::new(account));
        }
        Ok(())
    }

    pub(super) fn account_update(&mut self, name: &Name, cross_account: bool) -> Result<Effect, Refusal> {
        let account = self.account_mut(name)?;
        if account.cross_account != cross_account {
            Arc::make_mut(account).cross_account = cross_account;
        }
        Ok(Effect::of(Kind::Account, name))
    }

    pub(super) fn account_delete(&mut self, name: &Name) -> Result<Effect, Refusal> {
        let users = self.vpcs.values().filter(|vpc| vpc.account == *name);
        let users: Vec<String> = users.map(|vpc| format!("vpc `{}`", vpc.name)).collect();
        if !users.is_empty() {
            return Err(in_use(Kind::Account, name, &users));
        }
        match self.accounts.remove(name) {
            Some(_) => Ok(Effect::of(Kind::Account, name)),
            None => Err(not_found(Kind::Account, name)),
        }
    }

    pub(super) fn grant_add(&mut self, name: &Name, grants: &BTreeSet<Grant>) -> Result<Effect, Refusal> {
        let account = self.account_mut(name)?;
        if !grants.is_subset(&account.grants) {
            Arc::make_mut(account).grants.extend(grants);
        }
        Ok(Effect::of(Kind::Account, name))
    }

    /// Takes grants back. The account's networks are torn down, and come back when they are granted again.
    pub(super) fn grant_remove(&mut self, name: &Name, grants: &BTreeSet<Grant>) -> Result<Effect, Refusal> {
        let account = self.account_mut(name)?;
        if let Some(missing) = grants.difference(&account.grants).next() {
            return Err(Refusal::new(
                "not_found",
                format_args!("account `{name}` has not granted {missing}"),
            )
            .field("grant", missing)
            .remedy(format_args!("`gateway grant list {name}` shows what it has")));
        }
        Arc::make_mut(account).grants.retain(|grant| !grants.contains(grant));
        Ok(Effect::of(Kind::Account, name))
    }

    fn account_mut(&mut self, name: &Name) -> Result<&mut Arc<Account>, Refusal> {
        self.accounts.get_mut(name).ok_or_else(|| not_found(Kind::Account, name))
    }

    /// Whether the network may be attached for its owner.
    ///
    /// # Errors
    /// It may not: the refusal names each thing that is missing.
    pub fn attachable(&self, vpc: &Vpc, site: &Site) -> Result<(), Refusal> {
        let owner = &vpc.account;
        if owner.as_str() == DEFAULT {
            return Ok(());
        }
        let Some(account) = self.accounts.get(owner) else {
            return Err(not_found(Kind::Account, owner)
                .remedy(format_args!("add it first: `gateway account add {owner}`")));
        };
        if !site.cross_account && !account.cross_account {
            return Err(Refusal::new(
                "cross_account_off",
                format_args!("networks of other accounts are not attached: the feature is off for `{owner}`"),
            )
            .field("account", owner)
            .limit("default")
            .remedy(format_args!(
                "`gateway account update {owner} --cross-account true`, or `cross_account = true` in the settings for all"
            )));
        }
        if vpc.region.is_some() && site.region.is_some() && vpc.region != site.region {
            let regions = [&vpc.region, &site.region].map(|region| region.as_deref().unwrap_or_default());
            return Err(Refusal::new(
                "cross_account_region",
                format_args!("a network of account `{owner}` must be in this region, not in {}", regions[0]),
            )
            .field("region", regions[0])
            .limit(regions[1])
            .remedy(
                "across regions (XR-1): connect the networks, then attach one of the gateway's own account as the way in",
            ));
        }
        let missing: Vec<&str> =
            Grant::ALL.into_iter().filter(|grant| !account.grants.contains(grant)).map(Grant::word).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(
            "missing_grants",
            format_args!("account `{owner}` has not granted {}", missing.join(", ")),
        )
        .field("grants", missing.join(", "))
        .limit(Grant::ALL.map(Grant::word).join(", "))
        .remedy(format_args!("its owner agrees, then `gateway grant add {owner} {}`", missing.join(" "))))
    }

    /// The private network that a listener stands in; `None` for a public one.
    #[must_use]
    pub fn network<'a>(&'a self, listener: &'a Name) -> Option<&'a str> {
        let endpoint = listener.endpoint().and_then(|endpoint| self.endpoints.get(endpoint));
        listener.vpc().or_else(|| endpoint.map(|record| record.endpoint.vpc.as_str()))
    }

    /// The networks that are there and may not be attached any more, with the reason. Their endpoints are silent.
    #[must_use]
    pub fn revoked(&self, site: &Site) -> BTreeMap<Name, Refusal> {
        let refused = |vpc: &Arc<Vpc>| Some((vpc.name.clone(), self.attachable(vpc, site).err()?));
        self.vpcs.values().filter_map(refused).collect()
    }
}
