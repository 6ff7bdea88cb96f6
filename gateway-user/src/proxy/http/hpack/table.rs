//! Pure: the names in HPACK's two tables (RFC 7541 §2.3), and how much room the fields behind them take.

use std::collections::VecDeque;

use super::{Name, Named};

/// Names of the static table (appendix A).
const STATIC: [&str; 61] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];
/// What an entry takes besides its bytes (§4.1).
const OVERHEAD: u32 = 32;

/// The dynamic table, newest entry first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    /// What the entries take, and may take.
    size: u32,
    most: u32,
}

/// A field in the table. Narrow, because a connection may have a hundred of them; none is larger than the table.
#[derive(Debug)]
struct Entry {
    name: Name,
    name_length: u16,
    size: u16,
}

// === impl Table ===

impl Table {
    pub(super) fn new(most: u16) -> Self {
        Self { entries: VecDeque::new(), size: 0, most: most.into() }
    }

    /// The name at an index that both tables share (§2.3.3).
    pub(super) fn get(&self, index: u32) -> Option<Named> {
        let index = (index as usize).checked_sub(1)?;
        if let Some(name) = STATIC.get(index) {
            return Some(Named::of(name.as_bytes()));
        }
        let entry = self.entries.get(index - STATIC.len())?;
        Some(Named { name: entry.name, length: entry.name_length.into() })
    }

    /// Adds a field (§4.4). One that is larger than the table empties it.
    pub(super) fn insert(&mut self, named: Named, value_length: u32) {
        let size = named.length.saturating_add(value_length).saturating_add(OVERHEAD);
        self.shrink_to(self.most.saturating_sub(size));
        if size <= self.most
            && let (Ok(name_length), Ok(bytes)) = (named.length.try_into(), size.try_into())
        {
            self.size += size;
            self.entries.push_front(Entry { name: named.name, name_length, size: bytes });
        }
    }

    /// Sets what the entries may take (§4.3).
    pub(super) fn resize(&mut self, most: u32) {
        self.most = most;
        self.shrink_to(most);
    }

    fn shrink_to(&mut self, size: u32) {
        while self.size > size
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= u32::from(entry.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, Named, Table};

    fn at(table: &Table, index: u32) -> Option<(Name, u32)> {
        table.get(index).map(|named| (named.name, named.length))
    }

    #[test]
    fn both_tables_have_one_index() {
        let mut table = Table::new(4096);
        assert_eq!(at(&table, 0), None);
        assert_eq!(at(&table, 1), Some((Name::Pseudo, 10)));
        assert_eq!(at(&table, 4), Some((Name::Path, 5)));
        assert_eq!(at(&table, 61), Some((Name::Field, 16)));
        assert_eq!(at(&table, 62), None);
        table.insert(Named::of(b":path"), 3);
        table.insert(Named::of(b"x-a"), 0);
        assert_eq!(at(&table, 62), Some((Name::Field, 3)));
        assert_eq!(at(&table, 63), Some((Name::Path, 5)));
        assert_eq!(at(&table, 64), None);
        assert_eq!(at(&table, u32::MAX), None);
    }

    #[test]
    fn the_oldest_go_first_and_what_is_too_large_takes_all() {
        let mut table = Table::new(100);
        for name in [&b"a"[..], b"bb", b"ccc"] {
            table.insert(Named::of(name), 10);
        }
        // 44 and 45; the first, 43, is gone.
        assert_eq!(
            (at(&table, 62), at(&table, 63), at(&table, 64)),
            (Some((Name::Field, 3)), Some((Name::Field, 2)), None)
        );
        table.resize(88);
        assert_eq!((at(&table, 62), at(&table, 63)), (Some((Name::Field, 3)), None));
        table.insert(Named::of(b"d"), 56);
        assert_eq!((at(&table, 62), at(&table, 63)), (None, None));
        table.insert(Named::of(b"d"), 55);
        assert_eq!((at(&table, 62), at(&table, 63)), (Some((Name::Field, 1)), None));
        table.insert(Named::of(b"e"), u32::MAX);
        assert_eq!(at(&table, 62), None);
    }
}
