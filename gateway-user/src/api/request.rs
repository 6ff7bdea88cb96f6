//! Pure: one request of the control API, taken apart and decoded strictly.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::{
    base::{Name, Refusal},
    control::Caller,
    resource,
};

/// Longest time that a change may wait for its confirmation.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A request that found its route.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// Values of the `{…}` segments, in order.
    pub(super) segments: Vec<String>,
    pub(super) query: Query,
    pub(super) body: Bytes,
    /// Who asks, for the history.
    pub(super) uid: u32,
}

/// Decoded query parameters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(BTreeMap<String, String>);

impl Request {
    /// The value of the first `{…}` segment.
    pub(super) fn segment(&self) -> &str {
        self.segments.first().map_or("", String::as_str)
    }

    /// The first `{…}` segment as a name.
    pub(super) fn name(&self) -> Result<Name, Refusal> {
        resource::name("name", self.segment())
    }

    /// The first `{…}` segment as a listener's name, which may be `vpc:NAME`.
    pub(super) fn listener(&self) -> Result<Name, Refusal> {
        resource::listener_name("name", self.segment())
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        resource::from_json(&self.body)
    }

    /// The body as JSON, or the default where there is none.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Refusal> {
        if self.body.is_empty() { Ok(T::default()) } else { self.json() }
    }

    /// The body as text.
    pub(super) fn text(&self) -> Result<&str, Refusal> {
        std::str::from_utf8(&self.body).map_err(|error| {
            Refusal::new("invalid", "the body is not UTF-8 text")
                .field("byte", error.valid_up_to())
                .remedy("save the file as UTF-8")
        })
    }

    /// Whether the change is only tried.
    pub(super) fn dry_run(&self) -> Result<bool, Refusal> {
        self.query.flag("dry_run")
    }

    /// The remote shell that the request comes from, if it says so.
    pub(super) fn caller(&self) -> Result<Option<Caller>, Refusal> {
        self.query.value("caller").map(Caller::parse).transpose()
    }

    /// The time after which the change is undone unless it is confirmed.
    pub(super) fn confirm(&self) -> Result<Option<Duration>, Refusal> {
        let wait = self.query.value("confirm").map(resource::duration::parse).transpose()?;
        match wait {
            Some(wait) if !(Duration::from_secs(1)..=LONGEST_WAIT).contains(&wait) => {
                Err(Refusal::new("limit", "the time to confirm is out of range")
                    .field("confirm", resource::duration::text(wait))
                    .limit("1s to 24h")
                    .remedy("give it time enough to look, for example 30s"))
            }
            wait => Ok(wait),
        }
    }
}

impl Query {
    /// Takes the query of a URI apart. `known` are the route's parameters.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Self, Refusal> {
        let mut query = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (unescape(&key.replace('+', " "))?, unescape(&value.replace('+', " "))?);
            if !known.contains(&key.as_str()) {
                return Err(Refusal::new("unknown_parameter", "this parameter does not exist here")
                    .field("parameter", resource::clip(&key))
                    .limit(if known.is_empty() { "none".to_owned() } else { known.join(", ") })
                    .remedy("see /v1/openapi.json"));
            }
            if query.insert(key.clone(), value).is_some() {
                return Err(Refusal::new("duplicate_field", "the parameter is given twice")
                    .field("parameter", key)
                    .remedy("give it once"));
            }
        }
        Ok(Self(query))
    }

    /// A parameter's value.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A parameter that must be there.
    pub(super) fn required(&self, key: &str) -> Result<&str, Refusal> {
        self.value(key).ok_or_else(|| {
            Refusal::new("missing_field", format!("the parameter `{key}` is missing"))
                .field("parameter", key)
                .remedy("see /v1/openapi.json")
        })
    }

    /// A switch: absent is off, present without a value is on.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Refusal> {
        match self.value(key) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(Refusal::new("invalid", "this is not a switch")
                .field(key, resource::clip(other))
                .limit("true or false")),
        }
    }

    /// A number, if it is there.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Refusal> {
        self.value(key)
            .map(|text| {
                text.parse().map_err(|_| {
                    Refusal::new("invalid", "this is not a number").field(key, resource::clip(text))
                })
            })
            .transpose()
    }
}

/// Decodes percent escapes (RFC 3986 §2.1).
pub(super) fn unescape(text: &str) -> Result<String, Refusal> {
    let refused = || {
        Refusal::new("invalid", "a percent escape in the URI is not understood")
            .field("uri", resource::clip(text))
            .remedy("escape as in RFC 3986, in UTF-8")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) =
                (digit(rest.next()).ok_or_else(refused)?, digit(rest.next()).ok_or_else(refused)?);
            bytes.push(u8::try_from(high * 16 + low).map_err(|_| refused())?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::wire, Query, Request, unescape};
    use crate::resource;

    #[test]
    fn queries_are_strict() {
        let query = Query::parse("a=1&b=x%20y+z&c", &["a", "b", "c"]).unwrap();
        assert_eq!(query.value("b"), Some("x y z"));
        assert!(query.flag("c").unwrap());
        assert!(!query.flag("d").unwrap());
        assert_eq!(query.number("a").unwrap(), Some(1));
        assert!(query.flag("b").is_err());
        let unknown = Query::parse("dryrun=true", &["dry_run"]).unwrap_err();
        assert_eq!((unknown.code.as_str(), unknown.value.as_deref()), ("unknown_parameter", Some("dryrun")));
        assert!(Query::parse("a=1&a=2", &["a"]).is_err());
        assert!(Query::parse("a=%g0", &["a"]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512), text in ".{0,200}") {
            let _ = unescape(&text);
            let _ = Query::parse(&text, &["a", "dry_run"]);
            let request = Request { body: bytes.into(), ..Request::default() };
            let _ = request.text();
            let _ = request.json::<wire::CidrsRequest>();
            let _ = request.json::<wire::RollbackRequest>();
            let _ = request.json::<resource::Listener>();
            let _ = request.json::<resource::Service>();
            let _ = request.json::<resource::Patch>();
            let _ = request.json::<resource::Domain>();
            let _ = request.json::<resource::Route>();
        }

        #[test]
        fn almost_json_never_panics(text in r#"\{("(name|cidrs|interface|addresses|http|qps)":("[ -~]{0,20}"|[0-9]{1,20}|null|\[\]|\{\}|false),?){0,6}\}"#) {
            let request = Request { body: text.into_bytes().into(), ..Request::default() };
            let _ = request.json::<wire::CidrsRequest>();
            let _ = request.json::<resource::Listener>();
            let _ = request.json::<resource::Patch>();
        }
    }
}
