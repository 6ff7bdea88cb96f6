"""The frame tool: one HTTP/2 connection on which a case may say anything, also what no library would let it say.

Frames are sent as bytes (`frame` and its relatives), so that malformed ones need no trick; what comes back is parsed by
hyperframe and hpack. Waiting is always bounded: nothing within `PATIENCE` is `Silence`.
"""

import socket
import ssl
import struct

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame,
)

PATIENCE = 5.0
MAGIC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Frame types (RFC 9113 §6) and flags.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20
# Settings (§6.5.2).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
# Error codes (§7).
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, \
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(12)
CODES = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
    "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM"
).split()


class Silence(Exception):
    """Nothing came in time."""


class Closed(Exception):
    """The other side closed the connection."""


# === What is sent ===


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(fields):
    """A header block that needs no dynamic table: every case stands alone."""
    return Encoder().encode([(name, value, True) for name, value in fields])


def headers(stream, fields, flags=END_STREAM | END_HEADERS, payload=None):
    return frame(HEADERS, flags, stream, block(fields) if payload is None else payload)


def continuation(stream, fields, flags=END_HEADERS):
    return frame(CONTINUATION, flags, stream, block(fields))


def data(stream, payload=b"test", flags=END_STREAM):
    return frame(DATA, flags, stream, payload)


def priority_fields(depends=0, exclusive=False, weight=255):
    return struct.pack(">IB", depends | (exclusive << 31), weight)


def priority(stream, **fields):
    return frame(PRIORITY, 0, stream, priority_fields(**fields))


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in pairs))


def ping(payload=bytes(8), flags=0):
    return frame(PING, flags, 0, payload)


def go_away(code=NO_ERROR, debug=b""):
    return frame(GOAWAY, 0, 0, struct.pack(">II", 0, code) + debug)


def window(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


# === The connection ===


class Target:
    """Where the gateway is, and the request that it answers."""

    def __init__(self, host, port, tls, path, token=None):
        self.host, self.port, self.tls, self.path, self.token = host, port, tls, path, token

    def request(self, method="GET", path=None):
        fields = [
            (":method", method),
            (":scheme", "https" if self.tls else "http"),
            (":path", path or self.path),
            (":authority", f"{self.host}:{self.port}"),
        ]
        return fields + ([("authorization", self.token)] if self.token else [])


class Connection:
    def __init__(self, target):
        self.target = target
        self.buffer = bytearray()
        self.decoder = Decoder()
        self.server = {}
        self.seen = []
        self.eof = False
        plain = socket.create_connection((target.host, target.port), timeout=PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not target.tls:
            self.socket = plain
            return
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(plain, server_hostname=None)
        assert self.socket.selected_alpn_protocol() == "h2", "the gateway did not choose h2"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *parts):
        """Sends; a peer that has closed is noticed when reading."""
        try:
            self.socket.sendall(b"".join(parts))
        except (ConnectionError, ssl.SSLError):
            pass

    def handshake(self, *pairs):
        """Prefaces and acknowledgements of both sides, so that a case begins with settled settings."""
        self.send(MAGIC, settings(*pairs))
        acknowledged = False
        while not acknowledged or not self.server:
            got = self.receive()
            if isinstance(got, SettingsFrame):
                if "ACK" in got.flags:
                    acknowledged = True
                else:
                    self.server = {MAX_FRAME_SIZE: 16384, **{int(key): value for key, value in got.settings.items()}}
                    self.send(frame(SETTINGS, ACK))
        return self

    def receive(self, patience=PATIENCE):
        """The next frame."""
        while True:
            if len(self.buffer) >= 9:
                parsed, length = Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) >= 9 + length:
                    parsed.parse_body(memoryview(bytes(self.buffer[9:9 + length])))
                    del self.buffer[:9 + length]
                    self.seen.append(parsed)
                    return parsed
            if self.eof:
                raise Closed()
            self.socket.settimeout(patience)
            try:
                got = self.socket.recv(65536)
            except (TimeoutError, socket.timeout):
                raise Silence() from None
            except (ConnectionError, ssl.SSLError, OSError):
                got = b""
            self.eof = not got
            self.buffer += got

    def story(self):
        """What was received, for a failure's report."""
        return [describe(got) for got in self.seen] + (["closed"] if self.eof else [])


def describe(got):
    code = getattr(got, "error_code", None)
    extra = f" {CODES[code] if code is not None and code < len(CODES) else code}" if code is not None else ""
    size = f" {len(got.data)} bytes" if isinstance(got, DataFrame) else ""
    return f"{type(got).__name__.removesuffix('Frame')}({got.stream_id}){extra}{size} {sorted(got.flags)}"


__all__ = [name for name in dir() if not name.startswith("_")]
