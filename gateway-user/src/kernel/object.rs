//! The program's object file: the embedded one, or one named by a test, and the hash of its tables' layout.

use std::{borrow::Cow, fmt::Write as _, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use aya_obj::{EbpfSectionKind, Object as Parsed, maps::Map};

use gateway_common::layout::LAYOUT_HASH;

use crate::base::Refusal;

/// Made by `cargo xtask build-ebpf` and put here by `build.rs`.
static EMBEDDED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/gateway-ebpf"));

/// Maps that every object must have; each is pinned under its name.
pub(crate) const MAPS: [&str; 12] = [
    "PORTS",
    "SLOTS",
    "ENDPOINTS",
    "VERDICTS",
    "ENTRIES",
    "SAMPLE",
    "LOST",
    "EVENTS",
    "GUARD",
    "BANS",
    "BUDGETS",
    "SHARES",
];

/// Maps of large lists by family and size, in the order of `gateway_common::list::SIZES`; pinned likewise.
pub(crate) const LISTS: [&str; 8] =
    ["LISTS4_S", "LISTS4_M", "LISTS4_L", "LISTS4_X", "LISTS6_S", "LISTS6_M", "LISTS6_L", "LISTS6_X"];

/// The section of port marks, a map like the others.
pub(crate) const MARKS: &str = ".data.MARKS";

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    MAPS.into_iter().chain(LISTS).chain([MARKS])
}

/// The name of a map's pin: its own, but a BPF file system takes no dots, which a section's name has.
pub(crate) fn pin_name(map: &str) -> &str {
    map.rsplit('.').next().unwrap_or(map)
}

/// Type and sizes of one map, as the object declares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: u32,
    pub(crate) key: u32,
    pub(crate) value: u32,
    pub(crate) entries: u32,
    pub(crate) flags: u32,
}

/// An object file that was parsed once.
pub(crate) struct Object {
    pub(crate) bytes: Cow<'static, [u8]>,
    /// Names the tables' layout in the pin directory: two objects with the same hash can share pinned maps.
    pub(crate) layout: String,
    /// Declared maps by name, in the order of [`names`].
    pub(crate) shapes: Vec<(&'static str, Shape)>,
    /// The inner map of `PORTS`.
    pub(crate) ports: Shape,
}

impl Object {
    /// The embedded object, or the file at `path`.
    ///
    /// # Errors
    /// There is none, or it is not an object with the filter's maps.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Refusal> {
        let bytes = match path {
            None => Cow::Borrowed(EMBEDDED),
            Some(path) => Cow::Owned(std::fs::read(path).map_err(|error| {
                Refusal::new("filter_object", format_args!("the filter's object cannot be read: {error}"))
                    .field("object", path.display())
            })?),
        };
        let parsed = Parsed::parse(&bytes)
            .map_err(|error| Refusal::new("filter_object", format_args!("not an eBPF object: {error}")))?;
        let mut shapes = Vec::new();
        for name in names() {
            let map = parsed.maps.get(name).ok_or_else(|| missing(name))?;
            shapes.push((name, Shape::of(map)));
        }
        let ports = parsed.maps.get("PORTS").and_then(Map::inner).ok_or_else(|| missing("PORTS"))?;
        let layout = hash(&parsed);
        Ok(Self { bytes, layout, shapes, ports: Shape::of(&ports) })
    }
}

impl Shape {
    fn of(map: &Map) -> Self {
        Self {
            kind: map.map_type(),
            key: map.key_size(),
            value: map.value_size(),
            entries: map.max_entries(),
            flags: map.map_flags(),
        }
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::new("filter_object", format_args!("the filter's object has no map {name}"))
}

/// Every declared map with its sizes, so that any change of a table's shape makes another directory. What a size does
/// not show (two fields that changed places) is in the ABI's own hash.
fn hash(parsed: &Parsed) -> String {
    let shared = [EbpfSectionKind::BtfMaps, EbpfSectionKind::Data];
    let mut names: Vec<_> =
        parsed.maps.iter().filter(|(_, map)| shared.contains(&map.section_kind())).collect();
    names.sort_by_key(|(name, _)| name.as_str());
    let mut text = format!("{LAYOUT_HASH:016x}\n");
    for (name, map) in names {
        let _ = writeln!(text, "{name} {:?} {:?}", Shape::of(map), map.inner().as_ref().map(Shape::of));
    }
    hex(digest(&SHA256, text.as_bytes()).as_ref(), 8)
}

/// The first `bytes` of a digest in hexadecimal.
pub(crate) fn hex(digest: &[u8], bytes: usize) -> String {
    digest.iter().take(bytes).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::Object;

    #[test]
    fn what_is_no_object_is_refused_with_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"not an object").unwrap();
        assert_eq!(Object::open(Some(file.path())).map(|_| ()).unwrap_err().code, "filter_object");
        let absent = Object::open(Some("/nowhere/object".as_ref())).map(|_| ()).unwrap_err();
        assert_eq!(absent.value.as_deref(), Some("/nowhere/object"));
    }
}
