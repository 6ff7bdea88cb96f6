//! Pure: reads JSON and TOML into resources and keeps a refusal whole on its way through serde.
//!
//! A serde error is only text. So that a refused CIDR still reaches the operator as field, value, limit and remedy, the
//! text forms below append the refusal as JSON between two marks, and [`from_json`] and [`from_toml`] take it out.

use serde::de::DeserializeOwned;

use super::clip;
use crate::base::Refusal;

const MARK: char = '\u{1}';

/// A refusal as the message of a serde error.
#[must_use]
pub fn carry(refusal: &Refusal) -> String {
    let whole = serde_json::to_string(refusal).unwrap_or_default();
    format!("{refusal}{MARK}{whole}{MARK}")
}

/// The refusal that a serde error's text carries, or one made of the text.
#[must_use]
pub fn recover(text: &str) -> Refusal {
    let mut parts = text.split(MARK);
    let (prose, whole) = (parts.next().unwrap_or_default(), parts.next());
    if let Some(refusal) = whole.and_then(|whole| serde_json::from_str(whole).ok()) {
        return refusal;
    }
    // `base::Name` has a form of its own and knows no refusals.
    if let Some((name, _)) = prose.strip_prefix('`').and_then(|rest| rest.rsplit_once("` is not a name")) {
        return super::invalid_name("name", name);
    }
    let prose = prose.split(" at line ").next().unwrap_or(prose);
    for (start, code) in [
        ("unknown field `", "unknown_field"),
        ("missing field `", "missing_field"),
        ("duplicate field `", "duplicate_field"),
        ("unknown variant `", "invalid"),
    ] {
        let Some((_, rest)) = prose.split_once(start) else { continue };
        let (word, after) = rest.split_once('`').unwrap_or((rest, ""));
        let mut refusal =
            Refusal::new(code, prose).field(if code == "invalid" { "value" } else { "key" }, clip(word));
        if let Some((_, expected)) = after.split_once("expected ") {
            refusal = refusal.limit(format_args!("expected {}", expected.lines().next().unwrap_or_default()));
        }
        return match code {
            "unknown_field" => refusal.remedy("remove the key or correct its spelling"),
            "missing_field" => refusal.remedy("add the key"),
            "duplicate_field" => refusal.remedy("keep one of them"),
            _ => refusal.remedy("write one of these"),
        };
    }
    Refusal::new("invalid", prose).remedy("correct the text; `export` shows the form of every resource")
}

/// Reads one resource from JSON.
///
/// # Errors
/// The text is not JSON, has unknown keys or a value that is refused.
pub fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(text).map_err(|error| recover(&error.to_string()))
}

/// Reads one document from TOML. The refusal names the line.
///
/// # Errors
/// The text is not TOML, has unknown keys or a value that is refused.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    toml::from_str(text).map_err(|error| {
        let mut refusal = recover(error.message());
        if let Some(before) = error.span().and_then(|span| text.get(..span.start)) {
            let number = before.matches('\n').count();
            // Only the key of the line: its value may be a secret.
            let key = text
                .lines()
                .nth(number)
                .and_then(|line| line.split_once('='))
                .map(|(key, _)| clip(key.trim()));
            let key = key.map(|key| format!(" (`{key}`)")).unwrap_or_default();
            refusal.message = format!("line {}{key}: {}", number + 1, refusal.message);
        }
        refusal
    })
}

/// Gives a type with `Display` and `FromStr<Err = Refusal>` its text as serde form.
macro_rules! text_form {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse()
                    .map_err(|refusal| serde::de::Error::custom($crate::resource::read::carry(&refusal)))
            }
        }
    };
}
pub(crate) use text_form;

/// Values that have a text form and a table: one text with commas, or a list of texts and tables.
///
/// # Errors
/// A value is refused.
pub(super) fn texts_or_tables<'de, T, Table, D>(
    deserializer: D,
    of_table: impl Fn(Table) -> T,
) -> Result<Vec<T>, D::Error>
where
    T: std::str::FromStr<Err = Refusal>,
    Table: DeserializeOwned,
    D: serde::Deserializer<'de>,
{
    // Read as a map first: an untagged enum would lose why a field is refused.
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Table(serde_json::Map<String, serde_json::Value>),
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Forms {
        One(Form),
        Many(Vec<Form>),
        Nothing(()),
    }
    let forms = match <Forms as serde::Deserialize>::deserialize(deserializer)? {
        Forms::One(Form::Text(text)) => {
            text.split(',').map(|part| Form::Text(part.trim().to_owned())).collect()
        }
        Forms::One(form) => vec![form],
        Forms::Many(forms) => forms,
        Forms::Nothing(()) => Vec::new(),
    };
    let read = |form| match form {
        Form::Text(text) => text.trim().parse().map_err(|refusal| serde::de::Error::custom(carry(&refusal))),
        Form::Table(map) => {
            let table = serde_json::from_value(serde_json::Value::Object(map));
            table.map(&of_table).map_err(serde::de::Error::custom)
        }
    };
    forms.into_iter().map(read).collect()
}

/// One value or a list of them: `address = "192.0.2.1"` and `address = ["192.0.2.1", "2001:db8::1"]`.
///
/// # Errors
/// A value is refused.
pub fn one_or_many<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: std::str::FromStr<Err = Refusal>,
    D: serde::Deserializer<'de>,
{
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Form {
        One(String),
        Many(Vec<String>),
    }
    let texts = match <Form as serde::Deserialize>::deserialize(deserializer)? {
        // Commas separate on the command line, so they do here.
        Form::One(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        Form::Many(texts) => texts,
    };
    texts
        .iter()
        .map(|text| text.parse().map_err(|refusal| serde::de::Error::custom(carry(&refusal))))
        .collect()
}
