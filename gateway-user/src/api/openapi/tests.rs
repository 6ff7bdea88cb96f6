//! The description is complete, and its schemas are the types.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{super::route, document};

#[test]
fn every_route_and_every_parameter_is_described() {
    let document = document("0");
    for route in route::all() {
        let operation = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
        assert_eq!(operation["summary"], route.summary, "{} {}", route.method, route.path);
        let placeholders = route.path.matches('{').count();
        assert_eq!(operation["parameters"].as_array().unwrap().len(), placeholders + route.query.len());
        for parameter in operation["parameters"].as_array().unwrap() {
            assert_ne!(parameter["description"], "", "{parameter}");
        }
    }
    let described: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(described, route::all().len());
}

#[test]
fn identifiers_are_unique_and_references_lead_somewhere() {
    let document = document("0");
    let mut identifiers = BTreeSet::new();
    let mut pending = vec![&document];
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(identifier)) = map.get("operationId") {
                    assert!(identifiers.insert(identifier.clone()), "{identifier}");
                }
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let name = reference.strip_prefix("#/components/schemas/").unwrap();
                    assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
                }
                pending.extend(map.values());
            }
            Value::Array(items) => pending.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    assert_eq!(identifiers.len(), route::all().len());
}

/// The keys of a schema are those that the type reads: an unknown one is refused with the list of the known ones.
#[test]
fn request_schemas_have_exactly_the_fields_of_the_types() {
    use crate::{api::wire, resource};

    fn known<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
        let error = serde_json::from_str::<T>(r#"{"no-such-key": 1}"#).err().unwrap().to_string();
        let (_, list) = error.split_once("expected ").unwrap();
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    let document = document("0");
    for (name, known, aliases) in [
        ("Listener", known::<resource::Listener>(), &["address"][..]),
        ("Account", known::<resource::Account>(), &[]),
        ("AccountPatch", known::<wire::AccountPatch>(), &[]),
        ("Grants", known::<wire::GrantsRequest>(), &[]),
        ("Vpc", known::<resource::Vpc>(), &[]),
        ("EndpointService", known::<resource::EndpointService>(), &["certificate"]),
        ("Endpoint", known::<resource::Endpoint>(), &["subnet", "allow"]),
        ("Certificate", known::<resource::Certificate>(), &[]),
        ("Domain", known::<resource::Domain>(), &["certificate"]),
        ("Service", known::<resource::Service>(), &["instance"]),
        ("Mirror", known::<resource::Mirror>(), &[]),
        ("HealthCheck", known::<resource::upstream::HealthCheck>(), &[]),
        ("Outlier", known::<resource::upstream::Outlier>(), &[]),
        ("Retry", known::<resource::upstream::Retry>(), &[]),
        ("Bounds", known::<resource::upstream::Bounds>(), &[]),
        ("Route", known::<resource::Route>(), &["service"]),
        ("Cidrs", known::<wire::CidrsRequest>(), &[]),
        ("Token", known::<wire::TokenRequest>(), &[]),
        ("Rollback", known::<wire::RollbackRequest>(), &[]),
    ] {
        let schema = document["components"]["schemas"][name]["properties"].as_object().unwrap();
        let described: BTreeSet<String> = schema.keys().cloned().collect();
        let known: BTreeSet<String> =
            known.into_iter().filter(|key| !aliases.contains(&key.as_str())).collect();
        assert_eq!(described, known, "{name}");
    }
}
