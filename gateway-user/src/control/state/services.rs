//! Pure: edits of services, tokens and routes.

use std::sync::Arc;

use super::{Context, Effect, ServiceRecord, State, exists, in_use, known_gateway, not_found};
use crate::{
    base::{Name, Refusal},
    control::Issued,
    resource::{Kind, Patch, Route, Secret, Service, Token},
};

impl State {
    pub(super) fn service_add(&mut self, service: Service, context: &Context<'_>) -> Result<Effect, Refusal> {
        if self.services.contains_key(&service.name) {
            return Err(exists(Kind::Service, &service.name, "`gateway service update` changes it"));
        }
        let mut effect = Effect::of(Kind::Service, &service.name);
        effect.tokens.extend(self.service_put(service, context)?);
        Ok(effect)
    }

    /// Adds a service or gives the one of that name another form. A service that asks for tokens and has none gets one.
    pub(super) fn service_put(
        &mut self,
        mut service: Service,
        context: &Context<'_>,
    ) -> Result<Option<Issued>, Refusal> {
        service.validate()?;
        known_gateway(&service.gateway)?;
        let mut issued = None;
        let mut tokens = self.given_tokens(&mut service, context)?;
        if tokens.is_empty() && !service.no_auth {
            let token = Secret::from_random(&(context.random)()?);
            tokens.push(Token { hash: token.hash(), created: context.now.as_secs() });
            issued = Some(Issued { service: service.name.clone(), token });
        }
        let name = service.name.clone();
        let record = ServiceRecord { service, tokens };
        if self.services.get(&name).is_none_or(|held| **held != record) {
            self.services.insert(name, Arc::new(record));
        }
        Ok(issued)
    }

    /// The tokens that a service's form names, or those it has if it names none. The form's own fields are emptied.
    fn given_tokens(&self, service: &mut Service, context: &Context<'_>) -> Result<Vec<Token>, Refusal> {
        let (given, fingerprints) = (service.token.take(), std::mem::take(&mut service.token_fingerprints));
        let mut tokens = std::mem::take(&mut service.token_hashes);
        let held = self.services.get(&service.name).map_or(&[][..], |record| &record.tokens);
        for fingerprint in &fingerprints {
            let all = || self.services.values().flat_map(|record| &record.tokens);
            let token = held.iter().chain(all()).find(|token| token.hash.fingerprint() == *fingerprint);
            tokens.push(*token.ok_or_else(|| {
                let message = format!("a token of service `{}` is not in this state", service.name);
                Refusal::new("missing_secret", message)
                    .field("token_fingerprints", fingerprint)
                    .remedy("leave it out to get a new token, or export with `--with-secrets` where it is")
            })?);
        }
        if let Some(secret) = given {
            let hash = secret.hash();
            // The token that is there already keeps its age.
            let same = held.iter().find(|token| token.hash == hash).copied();
            tokens.push(same.unwrap_or(Token { hash, created: context.now.as_secs() }));
        }
        if tokens.is_empty() {
            tokens.extend_from_slice(held);
        }
        let mut seen = std::collections::BTreeSet::new();
        tokens.retain(|token| seen.insert(token.hash));
        Ok(tokens)
    }

    pub(super) fn service_update(
        &mut self,
        name: &Name,
        patch: &Patch,
        context: &Context<'_>,
    ) -> Result<Effect, Refusal> {
        let record = self.services.get(name).ok_or_else(|| not_found(Kind::Service, name))?;
        let next = patch.apply(&record.service)?;
        let mut effect = Effect::of(Kind::Service, name);
        effect.tokens.extend(self.service_put(next, context)?);
        Ok(effect)
    }

    pub(super) fn service_delete(&mut self, name: &Name) -> Result<Effect, Refusal> {
        let leads = |route: &&Arc<Route>| route.leads_to(name) || route.mirrors_to(name);
        let mut users: Vec<String> =
            self.routes.values().filter(leads).map(|route| format!("route `{}`", route.name)).collect();
        let offers = self.endpoint_services.values().filter(|one| one.service == *name);
        users.extend(offers.map(|one| format!("endpoint service `{}`", one.name)));
        if !users.is_empty() && self.services.contains_key(name) {
            return Err(in_use(Kind::Service, name, &users));
        }
        match self.services.remove(name) {
            Some(_) => Ok(Effect::of(Kind::Service, name)),
            None => Err(not_found(Kind::Service, name)),
        }
    }

    pub(super) fn token_rotate(
        &mut self,
        name: &Name,
        token: Option<Secret>,
        context: &Context<'_>,
    ) -> Result<Effect, Refusal> {
        let record = self.services.get_mut(name).ok_or_else(|| not_found(Kind::Service, name))?;
        if record.service.no_auth {
            return Err(Refusal::new(
                "conflict",
                format_args!("service `{name}` admits everybody; it has no token"),
            )
            .field("no_auth", true)
            .remedy(format_args!("`gateway service update {name} --no-auth false` first")));
        }
        let token = match token {
            Some(token) => Secret::new(token.reveal())?,
            None => Secret::from_random(&(context.random)()?),
        };
        let hash = token.hash();
        if record.tokens.iter().map(|held| held.hash).ne([hash]) {
            Arc::make_mut(record).tokens = vec![Token { hash, created: context.now.as_secs() }];
        }
        let mut effect = Effect::of(Kind::Service, name);
        effect.tokens.push(Issued { service: name.clone(), token });
        Ok(effect)
    }

    pub(super) fn route_add(&mut self, route: Route) -> Result<Effect, Refusal> {
        if self.routes.contains_key(&route.name) {
            return Err(exists(Kind::Route, &route.name, "choose another name or delete it first"));
        }
        self.route_put(route)
    }

    pub(super) fn route_update(&mut self, name: &Name, patch: &Patch) -> Result<Effect, Refusal> {
        let route = self.routes.get(name).ok_or_else(|| not_found(Kind::Route, name))?;
        let next = patch.apply(&**route)?;
        self.route_put(next)
    }

    pub(super) fn route_replace(&mut self, route: Route) -> Result<Effect, Refusal> {
        if !self.routes.contains_key(&route.name) {
            return Err(not_found(Kind::Route, &route.name));
        }
        self.route_put(route)
    }

    pub(super) fn route_put(&mut self, route: Route) -> Result<Effect, Refusal> {
        let route = route.normalized();
        route.validate()?;
        known_gateway(&route.gateway)?;
        let effect = Effect::of(Kind::Route, &route.name);
        if self.routes.get(&route.name).is_none_or(|held| **held != route) {
            self.routes.insert(route.name.clone(), Arc::new(route));
        }
        Ok(effect)
    }

    pub(super) fn route_delete(&mut self, name: &Name) -> Result<Effect, Refusal> {
        match self.routes.remove(name) {
            Some(_) => Ok(Effect::of(Kind::Route, name)),
            None => Err(not_found(Kind::Route, name)),
        }
    }
}
