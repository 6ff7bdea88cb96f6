//! A hostile HTTP/2 client: frames by hand, fields without Huffman and without tables (RFC 7541 §6.2.2), so that any byte
//! can stand in a field and any field anywhere.
//!
//! A line of a case is a field, `NAME VALUE`, or one of
//!
//! - `standard METHOD`: the fields of a good request
//! - `RAW TEXT`: bytes of a block, for fields in other representations
//! - `DATA TEXT`, `END` (the last frame so far ends the stream), `TRAILERS` (fields that follow are trailers), `MORE`
//!   (fields that follow stand in a CONTINUATION)

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Exchange, SILENCE};
use crate::scene::{HOST, TOKEN};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Bytes of a frame's payload that every server takes (RFC 9113 §4.2).
const FRAME_MAX: usize = 16_384;

/// The hostile stream, and the marker's.
const HOSTILE: u32 = 1;
const MARKER: u32 = 3;

/// Sends the case and the marker behind it, and waits until the marker is answered or the connection is over.
pub(super) async fn exchange(gateway: SocketAddr, lines: &[Vec<u8>], marker: &str) -> io::Result<Exchange> {
    let (mut stream, mut exchange) = super::connect(gateway).await?;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    let path = lines
        .iter()
        .find_map(|line| line.strip_prefix(b"standard "))
        .map(|_| marker.replace("/marker-", "/case-"));
    hostile(&mut bytes, lines, path.as_deref().unwrap_or_default());
    let mut block = Vec::new();
    standard(&mut block, b"GET", marker);
    frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, MARKER, &block);
    let _ = timeout(SILENCE, stream.write_all(&bytes)).await;
    let answered = timeout(SILENCE, until_answered(&mut stream, &mut exchange)).await;
    if let Ok(Err(_)) = answered {
        (exchange.ended, exchange.reset) = (true, true);
    }
    Ok(exchange)
}

/// Reads until both streams are over; an error is the end of the connection.
async fn until_answered(stream: &mut TcpStream, exchange: &mut Exchange) -> io::Result<()> {
    let mut open = [HOSTILE, MARKER].to_vec();
    while !open.is_empty() {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let id = u32::from_be_bytes(id) & 0x7fff_ffff;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        match kind {
            GOAWAY => return Err(io::ErrorKind::ConnectionAborted.into()),
            RESET => {
                exchange.reset |= id == HOSTILE;
                open.retain(|stream| *stream != id);
            }
            DATA | HEADERS if flags & END_STREAM != 0 => open.retain(|stream| *stream != id),
            _ => {}
        }
    }
    Ok(())
}

fn hostile(bytes: &mut Vec<u8>, lines: &[Vec<u8>], path: &str) {
    // A block in its pieces.
    let mut block = Some(vec![Vec::new()]);
    // The last frame is held back: `END` may still come.
    let mut held: Option<(u8, Vec<Vec<u8>>)> = None;
    let flush = |bytes: &mut Vec<u8>, held: &mut Option<(u8, Vec<Vec<u8>>)>, end: u8| {
        if let Some((kind, payload)) = held.take() {
            if kind == DATA {
                return frame(bytes, DATA, end, HOSTILE, &payload.concat());
            }
            let pieces: Vec<&[u8]> = payload.iter().flat_map(|piece| piece.chunks(FRAME_MAX)).collect();
            for (nth, piece) in pieces.iter().enumerate() {
                let (kind, flags) = if nth == 0 { (HEADERS, end) } else { (CONTINUATION, 0) };
                let last = if nth + 1 == pieces.len() { END_HEADERS } else { 0 };
                frame(bytes, kind, flags | last, HOSTILE, piece);
            }
        }
    };
    for line in lines {
        let (word, rest) = line
            .iter()
            .position(|byte| *byte == b' ')
            .map_or((&line[..], &b""[..]), |place| (&line[..place], &line[place + 1..]));
        if matches!(word, b"DATA" | b"END" | b"TRAILERS")
            && let Some(block) = block.take()
        {
            flush(bytes, &mut held, 0);
            held = Some((HEADERS, block));
        }
        match word {
            b"DATA" => {
                flush(bytes, &mut held, 0);
                held = Some((DATA, vec![rest.to_vec()]));
                continue;
            }
            b"TRAILERS" => {
                block = Some(vec![Vec::new()]);
                continue;
            }
            b"END" => {
                flush(bytes, &mut held, END_STREAM);
                continue;
            }
            _ => {}
        }
        let pieces = block.as_mut().expect("a field behind DATA or END, without TRAILERS");
        match word {
            b"MORE" => pieces.push(Vec::new()),
            b"standard" => standard(pieces.last_mut().unwrap(), rest, path),
            b"RAW" => pieces.last_mut().unwrap().extend_from_slice(rest),
            _ => field(pieces.last_mut().unwrap(), word, rest),
        }
    }
    assert!(block.is_none(), "fields without DATA or END behind them");
    flush(bytes, &mut held, 0);
}

fn standard(block: &mut Vec<u8>, method: &[u8], path: &str) {
    field(block, b":method", method);
    field(block, b":scheme", b"http");
    field(block, b":authority", HOST.as_bytes());
    field(block, b":path", path.as_bytes());
    field(block, b"authorization", TOKEN.as_bytes());
}

fn field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        // A length in seven bits, and what does not fit in groups of seven (RFC 7541 §5.1).
        let mut rest = text.len();
        if rest < 127 {
            block.push(rest as u8);
        } else {
            block.push(127);
            rest -= 127;
            while rest >= 128 {
                block.push((rest % 128 + 128) as u8);
                rest /= 128;
            }
            block.push(rest as u8);
        }
        block.extend_from_slice(text);
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = payload.len() as u32;
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}
