//! Pure: fields that belong to one connection and end there (RFC 9110 §7.6.1), by name and by the peer's say-so.

use super::head::Fields;

/// What `Connection` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// It names fields that are hop by hop, too.
    named: bool,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn read(fields: &impl Fields) -> Self {
        let mut connection = Self::default();
        for token in tokens(fields) {
            match token.len() {
                0 => {}
                5 if token.eq_ignore_ascii_case(b"close") => connection.close = true,
                7 if token.eq_ignore_ascii_case(b"upgrade") => connection.upgrade = true,
                10 if token.eq_ignore_ascii_case(b"keep-alive") => connection.keep_alive = true,
                _ => connection.named = true,
            }
        }
        connection
    }

    /// Whether a field ends here: it is hop by hop, or `Connection` in `fields` names it. Fields that decide where a
    /// message ends and whom it is for are not given up at a client's word.
    pub(crate) fn ends(self, fields: &impl Fields, name: &[u8]) -> bool {
        is_hop_by_hop(name)
            || (self.named && !is_kept(name) && tokens(fields).any(|token| token.eq_ignore_ascii_case(name)))
    }
}

fn tokens(fields: &impl Fields) -> impl Iterator<Item = &[u8]> {
    fields.all("connection").flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn is_kept(name: &[u8]) -> bool {
    [&b"host"[..], b"content-length", b"authorization", b"content-type", b"content-encoding"]
        .iter()
        .any(|kept| name.eq_ignore_ascii_case(kept))
}

/// Whether the field is hop by hop by its name.
pub(crate) fn is_hop_by_hop(name: &[u8]) -> bool {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 => is(b"te"),
        7 => is(b"upgrade"),
        10 => is(b"connection") || is(b"keep-alive"),
        14 => is(b"http2-settings"),
        16 => is(b"proxy-connection"),
        17 => is(b"transfer-encoding"),
        _ => false,
    }
}

/// Whether an `Upgrade` may be passed on: not where the connection would go on with requests, which nobody would judge in
/// the tunnel that it becomes (RFC 9110 §7.8 lets a server ignore it; `h2c` is gone since RFC 9113 §3.1).
pub(crate) fn is_tunnel(upgrade: &[u8]) -> bool {
    upgrade.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).all(|protocol| {
        let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        !(name.is_empty() || is(b"h2") || is(b"h2c") || is(b"h3") || is(b"http") || is(b"tls"))
    })
}

/// Whether the field frames, routes or authorises a message, and comes too late for that as a trailer (RFC 9110 §6.5.1).
pub(crate) fn is_late(name: &[u8]) -> bool {
    const LATE: [&[u8]; 20] = [
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"proxy-authorization",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-real-ip",
        b"x-request-id",
    ];
    LATE.iter().any(|late| name.eq_ignore_ascii_case(late))
        || name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
}

#[cfg(test)]
mod tests {
    use super::{Connection, is_tunnel};
    use crate::proxy::http::head::List;

    #[test]
    fn an_upgrade_to_more_requests_is_no_tunnel() {
        for passes in ["websocket", "WebSocket", "IRC/6.9, RTA/x11", "h2d", "connect-ip"] {
            assert!(is_tunnel(passes.as_bytes()), "{passes}");
        }
        for more in
            ["h2c", "H2C", "websocket, h2c", "h2c,websocket", "HTTP/2.0", "TLS/1.3", "h2", "h3", "", ","]
        {
            assert!(!is_tunnel(more.as_bytes()), "{more:?}");
        }
    }

    #[test]
    fn fields_end_by_name_or_by_say_so_but_not_those_that_frame_and_route() {
        let fields = List(&[("connection", "keep-alive, X-Secret,,close"), ("connection", "host")]);
        let connection = Connection::read(&fields);
        assert!(connection.close && connection.keep_alive && !connection.upgrade);
        for ends in ["x-secret", "TE", "Keep-Alive", "transfer-encoding", "Upgrade"] {
            assert!(connection.ends(&fields, ends.as_bytes()), "{ends}");
        }
        for stays in ["host", "content-length", "x-other", "trailer"] {
            assert!(!connection.ends(&fields, stays.as_bytes()), "{stays}");
        }
    }
}
