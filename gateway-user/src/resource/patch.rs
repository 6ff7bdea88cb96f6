//! Pure: a change of some fields of a resource: a JSON merge patch (RFC 7396) over the resource's own form.
//!
//! A field that is named takes the new value, a table is merged field by field, a list is replaced, and null takes a
//! field back to its default. So every resource has one form, and no second list of its fields for changes.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{clip, read::recover};
use crate::base::Refusal;

/// Some fields with their new values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patch(Map<String, Value>);

/// A resource that is changed field by field.
pub trait Patched: Serialize + DeserializeOwned {
    /// Fields that no patch may name, each with what to do instead.
    const FIXED: &'static [(&'static str, &'static str)];
    /// Other spellings of fields, each with the field.
    const ALIASES: &'static [(&'static str, &'static str)] = &[];
}

impl Patch {
    /// The patch that gives one field a new value.
    #[must_use]
    pub fn one(field: &str, value: Value) -> Self {
        Self(Map::from_iter([(field.to_owned(), value)]))
    }

    /// The resource with the patch's fields in place of its own.
    ///
    /// # Errors
    /// A field that is fixed or unknown, or a value that is refused.
    pub fn apply<T: Patched>(&self, resource: &T) -> Result<T, Refusal> {
        let mut form = serde_json::to_value(resource)
            .map_err(|error| Refusal::new("internal", format_args!("a resource has no form: {error}")))?;
        for (field, value) in &self.0 {
            if let Some((_, remedy)) = T::FIXED.iter().find(|(fixed, _)| fixed == field) {
                return Err(Refusal::new("fixed_field", "this field is not changed like this")
                    .field("key", clip(field))
                    .remedy(remedy));
            }
            let alias = T::ALIASES.iter().find(|(alias, _)| alias == field);
            merge_field(&mut form, alias.map_or(field, |(_, field)| field), value);
        }
        serde_json::from_value(form).map_err(|error| recover(&error.to_string()))
    }
}

fn merge_field(form: &mut Value, field: &str, value: &Value) {
    let Value::Object(fields) = form else { return };
    match value {
        Value::Null => drop(fields.remove(field)),
        Value::Object(inner) => {
            let table = fields.entry(field).or_insert(Value::Null);
            if !table.is_object() {
                *table = Value::Object(Map::new());
            }
            inner.iter().for_each(|(field, value)| merge_field(table, field, value));
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            fields.insert(field.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Map, merge_field};

    /// The examples of RFC 7396, appendix A, that concern objects.
    #[test]
    fn patches_merge_as_the_rfc_has_it() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target.clone();
            let Value::Object(fields) = &patch else { panic!("an object") };
            fields.iter().for_each(|(field, value)| merge_field(&mut merged, field, value));
            assert_eq!(merged, result, "{target} {patch}");
        }
        let mut nothing = Value::Object(Map::new());
        merge_field(&mut nothing, "a", &Value::Null);
        assert_eq!(nothing, json!({}));
    }
}
