//! What the reader makes of blocks, and whether it knows the same table as a client that is written apart from it.

use proptest::prelude::*;

use super::{Fault, Name, Reader, huffman};

const TABLE: u16 = 4096;

/// Reads a block in pieces of so many bytes.
fn read(reader: &mut Reader, block: &mut [u8], step: usize, trailers: bool) -> Result<(), Fault> {
    reader.begin(trailers);
    block.chunks_mut(step).try_for_each(|piece| reader.read(piece))?;
    reader.end()
}

fn whole(block: &[u8], trailers: bool) -> Result<(), Fault> {
    read(&mut Reader::new(TABLE), &mut block.to_vec(), block.len().max(1), trailers)
}

/// RFC 7541 appendix C.3 and C.4: three requests on one connection, the same without and with Huffman's code.
#[test]
fn the_published_requests_are_read() {
    let plain = [
        &b"\x82\x86\x84\x41\x0fwww.example.com"[..],
        b"\x82\x86\x84\xbe\x58\x08no-cache",
        b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
    ];
    let coded = [
        &b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..],
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    for requests in [plain, coded] {
        for step in 1..20 {
            let mut reader = Reader::new(TABLE);
            for request in requests {
                let mut block = request.to_vec();
                assert_eq!(read(&mut reader, &mut block, step, false), Ok(()));
                assert_eq!(block, request, "nothing changes");
            }
            let names =
                [62, 63, 64, 65].map(|index| reader.table.get(index).map(|named| (named.name, named.length)));
            assert_eq!(
                names,
                [Some((Name::Field, 10)), Some((Name::Field, 13)), Some((Name::Pseudo, 10)), None]
            );
        }
    }
}

#[test]
fn a_pseudo_field_in_trailers_is_found_in_every_representation() {
    let path = huffman::encode(b":path");
    let with = |begin: &[u8], end: &[u8]| [begin, &[0x80 | path.len() as u8], &path, end].concat();
    for (block, what) in [
        (b"\x82".to_vec(), "index"),
        (b"\x88".to_vec(), "index of an answer's"),
        (b"\x44\x02/x".to_vec(), "kept, name by index"),
        (b"\x04\x02/x".to_vec(), "not kept, name by index"),
        (b"\x14\x02/x".to_vec(), "never kept, name by index"),
        (b"\x00\x05:path\x02/x".to_vec(), "new name"),
        (b"\x40\x05:path\x02/x".to_vec(), "kept, new name"),
        (b"\x10\x05:path\x00".to_vec(), "never kept, new name"),
        (with(b"\x00", b"\x02/x"), "new name, coded"),
        (b"\x00\x07:status\x03200".to_vec(), "an answer's"),
        (b"\x00\x01:\x00".to_vec(), "a name of nothing else"),
        (b"\x00\x06:pathx\x00".to_vec(), "one that begins like another"),
        (b"\x00\x03x-a\x01b\x83".to_vec(), "behind a field"),
    ] {
        assert_eq!(whole(&block, true), Err(Fault::Pseudo), "{what}");
        assert_eq!(whole(&block, false), Ok(()), "{what}");
    }
    assert_eq!(whole(b"\x00\x03x-a\x05:path\x40\x05xpath\x00\xbe", true), Ok(()));
    // By an index that means one only because of the blocks before.
    let mut reader = Reader::new(TABLE);
    for (block, trailers, result) in [
        (&b"\x44\x02/x\x40\x03x-a\x00"[..], false, Ok(())),
        (b"\xbe", true, Ok(())),
        (b"\x7e\x01y\x0f\x2f\x00", true, Ok(())),
        (b"\xc0", true, Err(Fault::Pseudo)),
    ] {
        assert_eq!(read(&mut reader, &mut block.to_vec(), 9, trailers), result, "{block:x?}");
    }
}

#[test]
fn a_fragment_becomes_what_no_path_has() {
    let coded = |text: &[u8]| {
        let code = huffman::encode(text);
        [&[0x80 | code.len() as u8], &code[..]].concat()
    };
    let plain = |text: &[u8]| [&[text.len() as u8], text].concat();
    let names = [b"\x04".to_vec(), b"\x44".to_vec(), b"\x14".to_vec(), b"\x00\x05:path".to_vec()];
    for (before, after) in
        [("/a#b", "/a>b"), ("/#", "/>"), ("#", ">"), ("/a?b#c#d", "/a?b>c>d"), ("/aa#", "/aa>")]
    {
        for name in names.iter().chain([&[b"\x40", &coded(b":path")[..]].concat()]) {
            for encode in [&coded as &dyn Fn(&[u8]) -> Vec<u8>, &plain] {
                let block = |path: &str| [name, &encode(path.as_bytes())[..], b"\x00\x01#\x01#"].concat();
                for step in 1..8 {
                    let mut read_block = block(before);
                    assert_eq!(read(&mut Reader::new(TABLE), &mut read_block, step, false), Ok(()));
                    assert_eq!(read_block, block(after), "{before} by {name:x?} in steps of {step}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_block_is_an_error_of_the_connection() {
    for (block, what) in [
        (&b"\x80"[..], "index 0"),
        (b"\xbe", "an index behind the table"),
        (b"\x7f\x00\x00", "a name behind the table"),
        (b"\x00\x00\x00", "a field without a name"),
        (b"\xff\xff\xff\xff\xff\x00", "an integer that is too long"),
        (b"\x00\x01", "an end in a name"),
        (b"\x04", "an end behind a name"),
        (b"\x04\x05/x", "an end in a value"),
        (b"\xff", "an end in an integer"),
        (b"\x00\x81\x06\x00", "zeros as padding of a name"),
        (b"\x44\x82\x07\xff", "a byte of padding"),
        (b"\x44\x84\xff\xff\xff\xff", "the end of the string, said"),
        (b"\x3f\xe2\x1f", "a table of 4097 bytes"),
        (b"\x82\x20", "a table's size behind a field"),
    ] {
        assert_eq!(whole(block, false), Err(Fault::Compression), "{what}");
    }
    assert_eq!(whole(b"\x20\x3f\xe1\x1f\x82", false), Ok(()));
}

/// A client with a table of its own, written for what can be sent and not for how it is read.
struct Client {
    table: Vec<(Vec<u8>, Vec<u8>)>,
    most: usize,
}

#[derive(Clone, Debug)]
struct Way {
    /// Use what the table has: nothing, the name, all of the field.
    index: u8,
    /// With indexing, without, never.
    keep: u8,
    coded: (bool, bool),
}

impl Client {
    fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], way: &Way) {
        let whole = self.table.iter().position(|(n, v)| (n.as_slice(), v.as_slice()) == (name, value));
        if let (2, Some(index)) = (way.index, whole) {
            return number(out, 0x80, 7, index + 62);
        }
        let named = self.table.iter().position(|(n, _)| n == name).filter(|_| way.index >= 1);
        let (bits, prefix) = [(0x40, 6), (0, 4), (0x10, 4)][usize::from(way.keep)];
        number(out, bits, prefix, named.map_or(0, |index| index + 62));
        if named.is_none() {
            string(out, name, way.coded.0);
        }
        string(out, value, way.coded.1);
        if way.keep == 0 {
            self.table.insert(0, (name.to_vec(), value.to_vec()));
            self.evict();
        }
    }

    fn resize(&mut self, out: &mut Vec<u8>, most: usize) {
        number(out, 0x20, 5, most);
        self.most = most;
        self.evict();
    }

    fn evict(&mut self) {
        while self.table.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > self.most
        {
            self.table.pop();
        }
    }
}

fn number(out: &mut Vec<u8>, bits: u8, prefix: u8, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        return out.push(bits | value as u8);
    }
    out.push(bits | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    out.push(rest as u8);
}

fn string(out: &mut Vec<u8>, text: &[u8], coded: bool) {
    let code = if coded { huffman::encode(text) } else { text.to_vec() };
    number(out, if coded { 0x80 } else { 0 }, 7, code.len());
    out.extend(code);
}

fn fields() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let name = prop::sample::select(vec![":path", ":method", ":authority", "cookie", "x-a", "x-b"]);
    let value = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..6),
        2 => prop::collection::vec(any::<u8>(), 100..1500),
        1 => prop::collection::vec(Just(b'y'), 3900..4200),
    ];
    (name.prop_map(|name| name.as_bytes().to_vec()), value)
}

fn way() -> impl Strategy<Value = Way> {
    (0..3_u8, 0..3_u8, any::<(bool, bool)>()).prop_map(|(index, keep, coded)| Way { index, keep, coded })
}

proptest! {
    /// Whatever came before, an index means to the reader what it means to the client.
    #[test]
    fn reader_and_client_have_the_same_table(
        blocks in prop::collection::vec(
            (prop::option::of(0..4097_usize), prop::collection::vec((fields(), way()), 0..8), any::<bool>()),
            1..12,
        ),
        step in 1..300_usize,
    ) {
        let mut client = Client { table: Vec::new(), most: TABLE.into() };
        let mut reader = Reader::new(TABLE);
        for (size, fields, trailers) in blocks {
            let mut block = Vec::new();
            if let Some(size) = size {
                client.resize(&mut block, size);
            }
            let mut pseudo = false;
            for ((name, value), way) in &fields {
                // Trailers of a client that is not hostile, now and then.
                if !trailers || name[0] != b':' || value.len() % 3 == 0 {
                    pseudo |= name[0] == b':';
                    client.field(&mut block, name, value, way);
                }
            }
            let wanted = if trailers && pseudo { Err(Fault::Pseudo) } else { Ok(()) };
            prop_assert_eq!(read(&mut reader, &mut block, step, trailers), wanted);
            if wanted.is_err() {
                break;
            }
            let known: Vec<_> = (0..).map_while(|nth| reader.table.get(62 + nth)).collect();
            prop_assert_eq!(known.len(), client.table.len());
            for (known, (name, _)) in known.iter().zip(&client.table) {
                prop_assert_eq!(known.length as usize, name.len());
                prop_assert_eq!(known.name == Name::Path, name == b":path");
                prop_assert_eq!(known.name == Name::Field, name[0] != b':');
            }
        }
    }
}
