//! Pure: custom host names.

use crate::{resource, snapshot::http::Domain};

pub(super) fn compile(domain: &resource::Domain) -> Domain {
    Domain {
        gateway: domain.gateway.clone(),
        host: domain.host.as_str().to_owned(),
        visibility: super::visibility(&domain.exposure),
        certificate: domain.cert.clone(),
        https_only: domain.https_only,
    }
}
