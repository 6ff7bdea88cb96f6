"""The conformance cases of HTTP/2 (RFC 9113, RFC 7541) as one table: section, number, title, steps.

A step is bytes, which are sent, or a function of the connection: an expectation of `expect`, or a sender that needs to
know the server's settings. Every case has a connection of its own that has exchanged prefaces, unless it is `BARE`.
Sections and numbers are those of the suite that proxies are compared by (h2spec), so that results can be laid side by
side.
"""

from expect import *
from wire import *

BARE = "bare"


def fields_of(count, length=4000):
    """Header fields that fill frames."""
    return [(f"x-dummy{number}", "x" * length) for number in range(count)]


def table(target):
    get, post = target.request(), target.request("POST")
    GET = headers(1, get)
    # The request goes on: more frames of stream 1 may follow.
    OPEN = headers(1, post, END_HEADERS)
    # A header block that goes on.
    BEGUN = headers(1, get, END_STREAM)
    UNKNOWN = frame(0x16, 0, 0, bytes(8))
    TRAIL = continuation(1, fields_of(1))

    def without(name):
        return [(key, value) for key, value in get if key != name]

    def get_with(*fields):
        return headers(1, get + list(fields))

    def literal(representation):
        return headers(1, None, payload=block(get) + representation)

    def padded(kind, flags, payload, padding, length=None):
        length = len(padding) if length is None else length
        return frame(kind, flags | PADDED, 1, bytes([length]) + payload + padding)

    def updated(*sizes):
        """Updates of the dynamic table's size (RFC 7541 §6.3), at the start of a block."""
        return headers(1, None, payload=b"".join(sizes) + block(get))

    def too_many(connection):
        """One stream more than the server takes, none of which can end."""
        streams = range(1, 2 * connection.server[MAX_CONCURRENT_STREAMS] + 2, 2)
        connection.send(*(headers(stream, get) for stream in streams))

    def size_update(size):
        if size < 31:
            return bytes([0x20 | size])
        out, size = bytearray([0x3F]), size - 31
        while size >= 128:
            out.append(0x80 | size & 0x7F)
            size >>= 7
        return bytes(out + bytes([size]))

    ok = answered()
    rows = [
        # === generic: what every client does ===
        ("generic/1", 1, "a client connection preface", [BARE, MAGIC + settings((INITIAL_WINDOW_SIZE, 65535)), settings_first]),
        ("generic/2", 1, "PRIORITY on an idle stream", [priority(1), ping(), pong()]),
        ("generic/2", 2, "WINDOW_UPDATE on a half-closed (remote) stream",
         [settings((INITIAL_WINDOW_SIZE, 0)), GET, window(1, 1), some_body]),
        ("generic/2", 3, "PRIORITY on a half-closed (remote) stream",
         [settings((INITIAL_WINDOW_SIZE, 0)), GET, priority(1), window(1, 1), some_body]),
        ("generic/2", 4, "RST_STREAM on a half-closed (remote) stream", [GET, reset(1), ping(), pong_or_closed]),
        ("generic/2", 5, "PRIORITY on a closed stream", [GET, ended(), priority(1), ping(), pong()]),
        ("generic/3.1", 1, "a DATA frame", [OPEN, data(1), ok]),
        ("generic/3.1", 2, "several DATA frames", [OPEN, data(1, flags=0), data(1), ok]),
        ("generic/3.1", 3, "a DATA frame with padding", [OPEN, padded(DATA, END_STREAM, b"test", bytes(5)), ok]),
        ("generic/3.2", 1, "a HEADERS frame", [GET, ok]),
        ("generic/3.2", 2, "a HEADERS frame with padding",
         [padded(HEADERS, END_STREAM | END_HEADERS, block(get), bytes(8)), ok]),
        ("generic/3.2", 3, "a HEADERS frame with priority",
         [frame(HEADERS, END_STREAM | END_HEADERS | PRIORITISED, 1, priority_fields() + block(get)), ok]),
        ("generic/3.3", 1, "PRIORITY with weight 1", [priority(1, weight=0), GET, ok]),
        ("generic/3.3", 2, "PRIORITY with weight 256", [priority(1, weight=255), GET, ok]),
        ("generic/3.3", 3, "PRIORITY with a dependency", [priority(3, depends=1, weight=0), GET, ok]),
        ("generic/3.3", 4, "PRIORITY that is exclusive", [priority(1, exclusive=True, weight=0), GET, ok]),
        ("generic/3.3", 5, "PRIORITY on an idle stream, then HEADERS with a lower number", [priority(3), GET, ok]),
        ("generic/3.4", 1, "RST_STREAM", [headers(1, get, END_HEADERS), reset(1), ping(), pong_or_closed]),
        ("generic/3.5", 1, "SETTINGS with every parameter", [
            settings((HEADER_TABLE_SIZE, 4096), (ENABLE_PUSH, 1), (MAX_CONCURRENT_STREAMS, 100),
                     (INITIAL_WINDOW_SIZE, 65535), (MAX_FRAME_SIZE, 16384), (MAX_HEADER_LIST_SIZE, 100)),
            acknowledged]),
        ("generic/3.7", 1, "PING", [ping(b"caseping"), pong(b"caseping")]),
        ("generic/3.8", 1, "GOAWAY", [go_away(debug=b"bye"), ping(), pong_or_closed]),
        ("generic/3.9", 1, "WINDOW_UPDATE of the connection", [window(0, 1), ping(), pong()]),
        ("generic/3.9", 2, "WINDOW_UPDATE of a stream", [GET, window(1, 1), ok]),
        ("generic/3.10", 1, "a CONTINUATION frame",
         [frame(HEADERS, END_STREAM, 1, block(get)[:5]), frame(CONTINUATION, END_HEADERS, 1, block(get)[5:]), ok]),
        ("generic/3.10", 2, "several CONTINUATION frames",
         [frame(HEADERS, END_STREAM, 1, block(get)[:5]), frame(CONTINUATION, 0, 1, block(get)[5:10]),
          frame(CONTINUATION, END_HEADERS, 1, block(get)[10:]), ok]),
        ("generic/4", 1, "GET", [GET, ok]),
        ("generic/4", 2, "HEAD", [headers(1, target.request("HEAD")), ok]),
        ("generic/4", 3, "POST", [OPEN, data(1), ok]),
        ("generic/4", 4, "POST with trailers",
         [headers(1, post + [("trailer", "x-test")], END_HEADERS), data(1, flags=0), headers(1, [("x-test", "ok")]), ok]),
        ("generic/5", 1, "an indexed field", [literal(b"\xba"), ok]),
        ("generic/5", 2, "a literal with incremental indexing, Huffman, user-agent",
         [literal(b"\x40\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4"), ok]),
        ("generic/5", 3, "a literal with incremental indexing, user-agent", [literal(b"\x40\x0auser-agent\x06h2spec"), ok]),
        ("generic/5", 4, "a literal with incremental indexing, new name", [literal(b"\x40\x06x-test\x06h2spec"), ok]),
        ("generic/5", 5, "a literal with incremental indexing, new name, Huffman",
         [literal(b"\x40\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"), ok]),
        ("generic/5", 6, "a literal without indexing, user-agent", [literal(b"\x00\x0auser-agent\x06h2spec"), ok]),
        ("generic/5", 7, "a literal without indexing, user-agent, Huffman",
         [literal(b"\x00\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4"), ok]),
        ("generic/5", 8, "a literal without indexing, new name", [literal(b"\x00\x06x-test\x06h2spec"), ok]),
        ("generic/5", 9, "a literal without indexing, new name, Huffman",
         [literal(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"), ok]),
        ("generic/5", 10, "a literal never indexed, user-agent", [literal(b"\x10\x0auser-agent\x06h2spec"), ok]),
        ("generic/5", 11, "a literal never indexed, user-agent, Huffman",
         [literal(b"\x10\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4"), ok]),
        ("generic/5", 12, "a literal never indexed, new name", [literal(b"\x10\x06x-test\x06h2spec"), ok]),
        ("generic/5", 13, "a literal never indexed, new name, Huffman",
         [literal(b"\x10\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"), ok]),
        ("generic/5", 14, "an update of the dynamic table's size", [updated(size_update(128)), ok]),
        ("generic/5", 15, "several updates of the dynamic table's size", [updated(b"\x3f\x61", b"\x3f\xe1\x1f"), ok]),

        # === http2/3: starting ===
        ("http2/3.5", 1, "the server's preface is its first frame",
         [BARE, MAGIC + settings((INITIAL_WINDOW_SIZE, 65535)), settings_first]),
        ("http2/3.5", 2, "an invalid preface", [BARE, b"INVALID CONNECTION PREFACE\r\n\r\n", closed]),

        # === http2/4: frames ===
        ("http2/4.1", 1, "a frame of unknown type", [UNKNOWN, ping(), pong()]),
        ("http2/4.1", 2, "a frame with undefined flags", [ping(flags=0x16), pong()]),
        ("http2/4.1", 3, "a frame with the reserved bit", [frame(PING, 0, 0x80000000, bytes(8)), pong()]),
        ("http2/4.2", 1, "DATA of 2^14 octets", [OPEN, lambda c: c.send(data(1, bytes(c.server[MAX_FRAME_SIZE]))), ok]),
        ("http2/4.2", 2, "DATA larger than SETTINGS_MAX_FRAME_SIZE",
         [OPEN, lambda c: c.send(data(1, bytes(c.server[MAX_FRAME_SIZE] + 1))), stream_error(FRAME_SIZE_ERROR)]),
        ("http2/4.2", 3, "HEADERS larger than SETTINGS_MAX_FRAME_SIZE",
         [headers(1, get + fields_of(6)), connection_error(FRAME_SIZE_ERROR)]),
        ("http2/4.3", 1, "an invalid header block", [headers(1, None, payload=b"\x40"), connection_error(COMPRESSION_ERROR)]),
        ("http2/4.3", 2, "PRIORITY within a header block",
         [headers(1, get, 0), priority(1), TRAIL, connection_error(PROTOCOL_ERROR)]),
        ("http2/4.3", 3, "HEADERS of another stream within a header block",
         [headers(1, get, 0), headers(3, get), TRAIL, connection_error(PROTOCOL_ERROR)]),

        # === http2/5: streams ===
        ("http2/5.1", 1, "idle: DATA", [data(1), stream_error(PROTOCOL_ERROR, STREAM_CLOSED)]),
        ("http2/5.1", 2, "idle: RST_STREAM", [reset(1), connection_error(PROTOCOL_ERROR)]),
        ("http2/5.1", 3, "idle: WINDOW_UPDATE", [window(1, 100), connection_error(PROTOCOL_ERROR)]),
        ("http2/5.1", 4, "idle: CONTINUATION", [continuation(1, get), connection_error(PROTOCOL_ERROR)]),
        ("http2/5.1", 5, "half-closed (remote): DATA", [GET, data(1), stream_error(STREAM_CLOSED)]),
        ("http2/5.1", 6, "half-closed (remote): HEADERS", [GET, GET, stream_error(STREAM_CLOSED)]),
        ("http2/5.1", 7, "half-closed (remote): CONTINUATION",
         [GET, continuation(1, get), stream_error(STREAM_CLOSED, PROTOCOL_ERROR)]),
        ("http2/5.1", 8, "closed by RST_STREAM: DATA", [headers(1, get, END_HEADERS), reset(1), data(1), stream_error(STREAM_CLOSED)]),
        ("http2/5.1", 9, "closed by RST_STREAM: HEADERS", [headers(1, get, END_HEADERS), reset(1), GET, stream_error(STREAM_CLOSED)]),
        ("http2/5.1", 10, "closed by RST_STREAM: CONTINUATION",
         [headers(1, get, END_HEADERS), reset(1), TRAIL, stream_error(STREAM_CLOSED, PROTOCOL_ERROR)]),
        ("http2/5.1", 11, "closed by END_STREAM: DATA", [GET, ended(), data(1), stream_error(STREAM_CLOSED)]),
        ("http2/5.1", 12, "closed by END_STREAM: HEADERS", [GET, ended(), GET, connection_error(STREAM_CLOSED)]),
        ("http2/5.1", 13, "closed by END_STREAM: CONTINUATION",
         [GET, ended(), TRAIL, connection_error(STREAM_CLOSED, PROTOCOL_ERROR)]),
        ("http2/5.1.1", 1, "an even stream number", [headers(2, get), connection_error(PROTOCOL_ERROR)]),
        ("http2/5.1.1", 2, "a stream number smaller than the one before",
         [headers(5, get), headers(3, get), connection_error(PROTOCOL_ERROR)]),
        ("http2/5.1.2", 1, "one stream more than SETTINGS_MAX_CONCURRENT_STREAMS",
         [settings((INITIAL_WINDOW_SIZE, 0)), too_many, stream_error(PROTOCOL_ERROR, REFUSED_STREAM)]),
        ("http2/5.3.1", 1, "HEADERS that depend on themselves",
         [frame(HEADERS, END_STREAM | END_HEADERS | PRIORITISED, 1, priority_fields(depends=1) + block(get)),
          stream_error(PROTOCOL_ERROR)]),
        ("http2/5.3.1", 2, "PRIORITY that depends on itself", [priority(1, depends=1), stream_error(PROTOCOL_ERROR)]),
        ("http2/5.4.1", 1, "an invalid PING closes the connection", [frame(PING, 0, 3, bytes(8)), closed]),
        ("http2/5.4.1", 2, "an invalid PING brings GOAWAY", [frame(PING, 0, 3, bytes(8)), connection_error(PROTOCOL_ERROR)]),
        ("http2/5.5", 1, "an extension frame", [UNKNOWN, ping(), pong()]),
        ("http2/5.5", 2, "an extension frame within a header block", [BEGUN, UNKNOWN, connection_error(PROTOCOL_ERROR)]),

        # === http2/6: frame definitions ===
        ("http2/6.1", 1, "DATA on stream 0", [data(0), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.1", 2, "DATA on a stream that is not open", [headers(1, post), data(1), stream_error(STREAM_CLOSED)]),
        ("http2/6.1", 3, "DATA with a pad length of the whole payload",
         [headers(1, post + [("content-length", "4")], END_HEADERS), padded(DATA, END_STREAM, b"", b"Test", 6),
          connection_error(PROTOCOL_ERROR)]),
        ("http2/6.2", 1, "HEADERS without END_HEADERS, then PRIORITY",
         [headers(1, get, 0), priority(1), TRAIL, connection_error(PROTOCOL_ERROR)]),
        ("http2/6.2", 2, "HEADERS without END_HEADERS, then HEADERS of another stream",
         [headers(1, get, 0), headers(3, get), TRAIL, connection_error(PROTOCOL_ERROR)]),
        ("http2/6.2", 3, "HEADERS on stream 0", [headers(0, get), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.2", 4, "HEADERS with a pad length of more than the payload",
         [padded(HEADERS, END_STREAM | END_HEADERS, block(get), b"", len(block(get)) + 2), stream_error(PROTOCOL_ERROR)]),
        ("http2/6.3", 1, "PRIORITY on stream 0", [priority(0), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.3", 2, "PRIORITY of 4 octets", [GET, frame(PRIORITY, 0, 1, b"\x80\0\0\1"), stream_error(FRAME_SIZE_ERROR)]),
        ("http2/6.4", 1, "RST_STREAM on stream 0", [reset(0), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.4", 2, "RST_STREAM on an idle stream", [reset(1), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.4", 3, "RST_STREAM of 3 octets", [GET, frame(RST_STREAM, 0, 1, bytes(3)), stream_error(FRAME_SIZE_ERROR)]),
        ("http2/6.5", 1, "SETTINGS with ACK and a payload", [frame(SETTINGS, ACK, 0, b"\0"), connection_error(FRAME_SIZE_ERROR)]),
        ("http2/6.5", 2, "SETTINGS on a stream",
         [frame(SETTINGS, 0, 1, b"\0\3\0\0\0\x64"), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.5", 3, "SETTINGS of 3 octets",
         [frame(SETTINGS, 0, 0, b"\0\3\0"), stream_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR)]),
        ("http2/6.5.2", 1, "SETTINGS_ENABLE_PUSH other than 0 and 1", [settings((ENABLE_PUSH, 2)), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.5.2", 2, "SETTINGS_INITIAL_WINDOW_SIZE above the maximum",
         [settings((INITIAL_WINDOW_SIZE, 1 << 31)), connection_error(FLOW_CONTROL_ERROR)]),
        ("http2/6.5.2", 3, "SETTINGS_MAX_FRAME_SIZE below the initial value",
         [settings((MAX_FRAME_SIZE, 16383)), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.5.2", 4, "SETTINGS_MAX_FRAME_SIZE above the maximum",
         [settings((MAX_FRAME_SIZE, 1 << 24)), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.5.2", 5, "an unknown setting", [settings((0xFF, 1)), ping(), pong()]),
        ("http2/6.5.3", 1, "two values of SETTINGS_INITIAL_WINDOW_SIZE: the last counts",
         [settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)), acknowledged, GET, body_of(1)]),
        ("http2/6.5.3", 2, "SETTINGS are acknowledged", [settings((ENABLE_PUSH, 0)), acknowledged]),
        ("http2/6.7", 1, "PING", [ping(b"caseping"), pong(b"caseping")]),
        ("http2/6.7", 2, "PING with ACK is not answered", [ping(b"notthis!", ACK), ping(b"caseping"), pong(b"caseping")]),
        ("http2/6.7", 3, "PING on a stream", [frame(PING, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.7", 4, "PING of 6 octets", [ping(bytes(6)), connection_error(FRAME_SIZE_ERROR)]),
        ("http2/6.8", 1, "GOAWAY on a stream", [frame(GOAWAY, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.9", 1, "WINDOW_UPDATE of 0 on the connection", [window(0, 0), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.9", 2, "WINDOW_UPDATE of 0 on a stream",
         [headers(1, get, END_HEADERS), window(1, 0), stream_error(PROTOCOL_ERROR)]),
        ("http2/6.9", 3, "WINDOW_UPDATE of 3 octets", [frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), connection_error(FRAME_SIZE_ERROR)]),
        ("http2/6.9.1", 1, "a window of 1 octet is kept to", [settings((INITIAL_WINDOW_SIZE, 1)), acknowledged, GET, body_of(1)]),
        ("http2/6.9.1", 2, "the connection's window above 2^31-1",
         [window(0, (1 << 31) - 1) * 2, connection_error(FLOW_CONTROL_ERROR)]),
        ("http2/6.9.1", 3, "a stream's window above 2^31-1",
         [headers(1, get, END_HEADERS), window(1, (1 << 31) - 1) * 2, reset_with(1, FLOW_CONTROL_ERROR)]),
        ("http2/6.9.2", 1, "SETTINGS_INITIAL_WINDOW_SIZE changed after HEADERS",
         [settings((INITIAL_WINDOW_SIZE, 0)), acknowledged, GET, settings((INITIAL_WINDOW_SIZE, 1)), body_of(1)]),
        ("http2/6.9.2", 2, "a window that became negative",
         [settings((INITIAL_WINDOW_SIZE, 3)), acknowledged, GET, body_of(3), settings((INITIAL_WINDOW_SIZE, 2)), acknowledged,
          window(1, 2), body_of(1)]),
        ("http2/6.9.2", 3, "SETTINGS_INITIAL_WINDOW_SIZE above the maximum window",
         [settings((INITIAL_WINDOW_SIZE, 1 << 31)), connection_error(FLOW_CONTROL_ERROR)]),
        ("http2/6.10", 1, "several CONTINUATION frames after HEADERS",
         [BEGUN, continuation(1, fields_of(1), 0), continuation(1, fields_of(1)), ok]),
        ("http2/6.10", 2, "CONTINUATION, then another frame",
         [headers(1, post, 0), continuation(1, fields_of(1), 0), data(1), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.10", 3, "CONTINUATION on stream 0", [BEGUN, continuation(0, fields_of(1)), connection_error(PROTOCOL_ERROR)]),
        ("http2/6.10", 4, "CONTINUATION after HEADERS with END_HEADERS", [GET, TRAIL, connection_error(PROTOCOL_ERROR)]),
        ("http2/6.10", 5, "CONTINUATION after CONTINUATION with END_HEADERS", [BEGUN, TRAIL, TRAIL, connection_error(PROTOCOL_ERROR)]),
        ("http2/6.10", 6, "CONTINUATION after DATA",
         [headers(1, post, 0), data(1), continuation(1, fields_of(1), 0), continuation(0, fields_of(1)),
          connection_error(PROTOCOL_ERROR)]),

        # === http2/7: error codes ===
        ("http2/7", 1, "GOAWAY with an unknown code", [go_away(0xFF), ping(), pong_or_closed]),
        ("http2/7", 2, "RST_STREAM with an unknown code", [OPEN, reset(1, 0xFF), ping(), pong_or_closed]),

        # === http2/8: HTTP semantics ===
        ("http2/8.1", 1, "a second HEADERS frame without END_STREAM",
         [OPEN, data(1, flags=0), headers(1, [("x-test", "ok")], END_HEADERS), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2", 1, "a field name with capitals", [get_with(("X-TEST", "ok")), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.1", 1, "an unknown pseudo field", [get_with((":test", "ok")), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.1", 2, "a response's pseudo field", [get_with((":status", "200")), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.1", 3, "a pseudo field in trailers",
         [OPEN, data(1, flags=0), headers(1, [(":method", "POST")], END_HEADERS), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.1", 4, "a pseudo field after a regular one",
         [headers(1, [("x-test", "ok")] + get), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.2", 1, "a connection-specific field", [get_with(("connection", "keep-alive")), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.2", 2, "TE other than trailers",
         [get_with(("trailers", "test"), ("te", "trailers, deflate")), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.3", 1, "an empty :path", [headers(1, without(":path") + [(":path", "")]), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.3", 2, "no :method", [headers(1, without(":method")), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.3", 3, "no :scheme", [headers(1, without(":scheme")), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.3", 4, "no :path", [headers(1, without(":path")), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.3", 5, "two :method", [headers(1, get[:1] + get), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.3", 6, "two :scheme", [headers(1, get[1:2] + get), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.3", 7, "two :path", [headers(1, get[2:3] + get), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.6", 1, "a content-length other than the body's",
         [headers(1, post + [("content-length", "1")], END_HEADERS), data(1), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.1.2.6", 2, "a content-length other than the sum of the DATA frames",
         [headers(1, post + [("content-length", "1")], END_HEADERS), data(1, flags=0), data(1), stream_error(PROTOCOL_ERROR)]),
        ("http2/8.2", 1, "PUSH_PROMISE from a client",
         [frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\3" + block(get)), connection_error(PROTOCOL_ERROR)]),

        # === hpack (RFC 7541) ===
        ("hpack/2.3.3", 1, "an indexed field beyond the tables", [literal(b"\xc6"), connection_error(COMPRESSION_ERROR)]),
        ("hpack/2.3.3", 2, "a literal whose name is beyond the tables", [literal(b"\x7f\x07\x00"), connection_error(COMPRESSION_ERROR)]),
        ("hpack/4.2", 1, "a size update at the end of a block", [literal(b"\x21"), connection_error(COMPRESSION_ERROR)]),
        ("hpack/5.2", 1, "Huffman padding of more than 7 bits",
         [literal(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"), connection_error(COMPRESSION_ERROR)]),
        ("hpack/5.2", 2, "Huffman padding with zeros",
         [literal(b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"), connection_error(COMPRESSION_ERROR)]),
        ("hpack/5.2", 3, "EOS within a Huffman string",
         [literal(b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"), connection_error(COMPRESSION_ERROR)]),
        ("hpack/6.1", 1, "index 0", [literal(b"\x80"), connection_error(COMPRESSION_ERROR)]),
        ("hpack/6.3", 1, "a size update above SETTINGS_HEADER_TABLE_SIZE", [
            lambda c: c.send(updated(size_update(c.server.get(HEADER_TABLE_SIZE, 4096) + 1))),
            connection_error(COMPRESSION_ERROR)]),
    ]
    return [(f"{section}/{number}", title, steps) for section, number, title, steps in rows]


def run(target, steps):
    """Why the case failed, or None."""
    with Connection(target) as connection:
        try:
            bare = steps[0] is BARE
            if not bare:
                connection.handshake()
            for step in steps[1:] if bare else steps:
                if callable(step):
                    step(connection)
                else:
                    connection.send(step)
        except Wrong as wrong:
            return f"{wrong}; received {connection.story()}"
        except (Silence, Closed) as end:
            return f"the prefaces ended in {type(end).__name__.lower()}; received {connection.story()}"
    return None
