//! Pure: routes.

use crate::{
    resource,
    snapshot::http::{Backend, Mirror, Route},
};

pub(super) fn compile(route: &resource::Route) -> Route {
    Route {
        gateway: route.gateway.clone(),
        name: route.name.clone(),
        host: route.host.as_ref().map(|host| host.as_str().to_owned()),
        path_prefix: route.path_prefix.clone(),
        methods: route.methods.clone(),
        headers: route.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        strip_prefix: route.strip_prefix,
        backends: route
            .services
            .iter()
            .map(|target| Backend { service: target.service.clone(), weight: target.weight })
            .collect(),
        mirror: route
            .mirror
            .as_ref()
            .map(|mirror| Mirror { service: mirror.service.clone(), percent: mirror.percent }),
        retry_unsafe: route.retry_unsafe,
    }
}
