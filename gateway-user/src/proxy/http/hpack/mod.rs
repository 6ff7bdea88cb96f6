//! Pure: follows a client's header blocks (RFC 7541) as their bytes pass, as far as it takes to know their pseudo-fields.
//!
//! h2 decodes the same bytes behind us, and says less than must be known: it passes over pseudo-fields in trailers, and
//! cuts a fragment off a path. Of a field nothing is kept but what kind of name it has and how much room it takes, and
//! no value is looked at but a path. Whatever this reader takes for an error ends the connection, so that it never takes
//! a field for another one than h2 does.

mod huffman;
mod table;
#[cfg(test)]
mod tests;

use huffman::Decoder;
use table::Table;

const PATH: &[u8] = b":path";
/// Bytes of an integer behind its first: more say only what no frame can hold. h2's bound, too.
const NUMBER_MAX: u32 = 4;

/// What a field's name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Field,
    Path,
    /// Another pseudo-field.
    Pseudo,
}

/// A name and its length.
#[derive(Clone, Copy, Debug)]
struct Named {
    name: Name,
    length: u32,
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody knows what the fields are, of this block and of all that follow (RFC 9113 §4.3).
    Compression,
    /// A pseudo-field in trailers (RFC 9113 §8.1).
    Pseudo,
}

/// Follows the blocks of a connection.
#[derive(Debug)]
pub(super) struct Reader {
    table: Table,
    /// What the client may make of the table's size.
    table_most: u32,
    at: At,
    number: Number,
    literal: Literal,
    text: Text,
    /// The block is one of trailers.
    trailers: bool,
    /// No field of the block came yet: the table's size may still change (§4.2).
    fresh: bool,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The first of a field.
    Field,
    /// One more of an integer.
    Number(Meaning),
    /// The first of a string.
    Length(Part),
    /// One of a string.
    Text(Part),
}

/// What an integer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Indexed,
    /// The name of a literal; whether the field goes into the table.
    Literal {
        kept: bool,
    },
    Size,
    Length(Part),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Name,
    Value,
}

#[derive(Debug, Default)]
struct Number {
    value: u32,
    /// Bytes behind the first.
    bytes: u32,
}

/// A literal on its way.
#[derive(Clone, Copy, Debug)]
struct Literal {
    named: Named,
    kept: bool,
}

/// A string on its way.
#[derive(Debug)]
struct Text {
    coding: Coding,
    left: u32,
    /// Bytes so far, decoded.
    length: u32,
    /// The first of them: one more than tells what name it is.
    begin: [u8; PATH.len() + 1],
}

#[derive(Debug)]
enum Coding {
    Plain,
    Huffman(Decoder),
    /// Neither the bytes nor their number matter.
    Unread,
}

// === impl Named ===

impl Named {
    fn of(name: &[u8]) -> Self {
        let kind = match name {
            PATH => Name::Path,
            [b':', ..] => Name::Pseudo,
            _ => Name::Field,
        };
        Self { name: kind, length: name.len() as u32 }
    }
}

// === impl Reader ===

impl Reader {
    /// For a client that may keep so many bytes in its table.
    pub(super) fn new(table: u16) -> Self {
        Self {
            table: Table::new(table),
            table_most: table.into(),
            at: At::Field,
            number: Number::default(),
            literal: Literal { named: Named::of(b""), kept: false },
            text: Text::new(Coding::Unread),
            trailers: false,
            fresh: true,
        }
    }

    /// A block begins here.
    pub(super) fn begin(&mut self, trailers: bool) {
        (self.trailers, self.fresh) = (trailers, true);
    }

    /// The block ends here.
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.at == At::Field { Ok(()) } else { Err(Fault::Compression) }
    }

    /// Reads a piece of the block.
    ///
    /// Makes a `>` of each `#` in a path, which h2 would cut off together with what is behind it. No path has a `>`
    /// either, and h2 resets the stream of one that has: what becomes of every byte that no path has. Both are as long
    /// in either coding, and who refers to the field later refers to a `>`.
    pub(super) fn read(&mut self, mut bytes: &mut [u8]) -> Result<(), Fault> {
        while let [first, ..] = *bytes {
            let taken = match self.at {
                At::Text(_) => bytes.len().min(self.text.left as usize),
                At::Field | At::Number(_) | At::Length(_) => 1,
            };
            let (piece, rest) = bytes.split_at_mut(taken);
            match self.at {
                At::Field => self.field(first)?,
                At::Number(meaning) => self.number(first, meaning)?,
                At::Length(part) => self.begin_text(first, part)?,
                At::Text(part) => self.text(piece, part)?,
            }
            bytes = rest;
        }
        Ok(())
    }

    /// The first byte of a field, or of a change of the table's size (§6).
    fn field(&mut self, byte: u8) -> Result<(), Fault> {
        match byte {
            0x80.. => self.begin_number(byte, 7, Meaning::Indexed),
            0x40.. => self.begin_number(byte, 6, Meaning::Literal { kept: true }),
            0x20.. => self.begin_number(byte, 5, Meaning::Size),
            _ => self.begin_number(byte, 4, Meaning::Literal { kept: false }),
        }
    }

    /// The first byte of an integer, which has so many bits of it (§5.1).
    fn begin_number(&mut self, byte: u8, bits: u8, meaning: Meaning) -> Result<(), Fault> {
        let most = u8::MAX >> (8 - bits);
        let value = u32::from(byte & most);
        if byte & most < most {
            return self.know(value, meaning);
        }
        self.number = Number { value, bytes: 0 };
        self.at = At::Number(meaning);
        Ok(())
    }

    fn number(&mut self, byte: u8, meaning: Meaning) -> Result<(), Fault> {
        let Number { value, bytes } = &mut self.number;
        *value += u32::from(byte & 0x7f) << (7 * *bytes);
        *bytes += 1;
        match (byte < 0x80, *bytes) {
            (true, _) => {
                let value = *value;
                self.know(value, meaning)
            }
            (false, NUMBER_MAX) => Err(Fault::Compression),
            (false, _) => Ok(()),
        }
    }

    /// An integer is complete.
    fn know(&mut self, value: u32, meaning: Meaning) -> Result<(), Fault> {
        match meaning {
            Meaning::Indexed => {
                let named = self.table.get(value).ok_or(Fault::Compression)?;
                return self.pass(named);
            }
            Meaning::Literal { kept } if value == 0 => {
                self.literal = Literal { named: Named::of(b""), kept };
                self.at = At::Length(Part::Name);
            }
            Meaning::Literal { kept } => {
                let named = self.table.get(value).ok_or(Fault::Compression)?;
                self.literal = Literal { named, kept };
                self.at = At::Length(Part::Value);
            }
            Meaning::Size if !self.fresh || value > self.table_most => return Err(Fault::Compression),
            Meaning::Size => {
                self.table.resize(value);
                self.at = At::Field;
            }
            Meaning::Length(part) => {
                self.text.left = value;
                self.at = At::Text(part);
                if value == 0 {
                    return self.end_text(part);
                }
            }
        }
        Ok(())
    }

    /// The first byte of a string (§5.2).
    fn begin_text(&mut self, byte: u8, part: Part) -> Result<(), Fault> {
        // How long a value is decides what leaves the table for it.
        let read = part == Part::Name || self.literal.kept || self.literal.named.name == Name::Path;
        self.text = Text::new(match (read, byte & 0x80 != 0) {
            (false, _) => Coding::Unread,
            (true, false) => Coding::Plain,
            (true, true) => Coding::Huffman(Decoder::default()),
        });
        self.begin_number(byte, 7, Meaning::Length(part))
    }

    /// A piece of a string.
    fn text(&mut self, piece: &mut [u8], part: Part) -> Result<(), Fault> {
        let is_path = part == Part::Value && self.literal.named.name == Name::Path;
        let Text { coding, left, length, begin } = &mut self.text;
        *left -= piece.len() as u32;
        let mut is_fragment = |symbol: u8| {
            if let Some(place) = begin.get_mut(*length as usize) {
                *place = symbol;
            }
            *length += 1;
            is_path && symbol == b'#'
        };
        match coding {
            Coding::Unread => {}
            Coding::Plain => {
                for byte in piece {
                    if is_fragment(*byte) {
                        *byte = b'>';
                    }
                }
            }
            Coding::Huffman(decoder) => {
                for byte in piece {
                    decoder.push(*byte);
                    while let Some(symbol) = decoder.next().map_err(|_| Fault::Compression)? {
                        if is_fragment(symbol) {
                            // The two codes differ in their last bit, which is one of this byte.
                            *byte |= 1 << decoder.left();
                        }
                    }
                }
            }
        }
        if self.text.left == 0 { self.end_text(part) } else { Ok(()) }
    }

    fn end_text(&mut self, part: Part) -> Result<(), Fault> {
        let Text { coding, length, begin, .. } = &self.text;
        if matches!(coding, Coding::Huffman(decoder) if !decoder.is_padded()) {
            return Err(Fault::Compression);
        }
        match part {
            Part::Name if *length == 0 => Err(Fault::Compression),
            Part::Name => {
                let name = Named::of(begin.get(..*length as usize).unwrap_or(begin)).name;
                self.literal.named = Named { name, length: *length };
                self.at = At::Length(Part::Value);
                Ok(())
            }
            Part::Value => {
                if self.literal.kept {
                    self.table.insert(self.literal.named, *length);
                }
                self.pass(self.literal.named)
            }
        }
    }

    /// A field is complete.
    fn pass(&mut self, named: Named) -> Result<(), Fault> {
        (self.at, self.fresh) = (At::Field, false);
        if self.trailers && named.name != Name::Field { Err(Fault::Pseudo) } else { Ok(()) }
    }
}

// === impl Text ===

impl Text {
    fn new(coding: Coding) -> Self {
        Self { coding, left: 0, length: 0, begin: Default::default() }
    }
}
