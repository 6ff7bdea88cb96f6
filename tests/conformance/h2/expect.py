"""What must come back. Each is a function of the connection that raises `Wrong` when something else came.

Stricter than the suite whose numbers the cases have: an error must be said (GOAWAY or RST_STREAM), where that one takes
any closed connection for it, and a valid request must be answered with 200. A code may be the general PROTOCOL_ERROR
instead of the particular one (RFC 9113 §7); any other is wrong.
"""

from wire import *


class Wrong(Exception):
    pass


def _await(wanted, test):
    def check(connection):
        try:
            while not test(connection, connection.receive()):
                pass
        except (Silence, Closed) as end:
            raise Wrong(f"wanted {wanted}, then {type(end).__name__.lower()}") from None

    return check


def _named(codes):
    return " or ".join(CODES[code] for code in codes)


def closed(connection):
    """The connection ends, whatever is said before."""
    try:
        while True:
            connection.receive()
    except Closed:
        return
    except Silence:
        raise Wrong("wanted the end of the connection, then silence") from None


def connection_error(*codes):
    """GOAWAY with one of these codes, then the end of the connection."""

    def gone(_, got):
        if isinstance(got, GoAwayFrame) and got.error_code != NO_ERROR:
            if got.error_code not in (*codes, PROTOCOL_ERROR):
                raise Wrong(f"{describe(got)}, wanted {_named(codes)}")
            return True
        return False

    def check(connection):
        _await(f"GOAWAY {_named(codes)}", gone)(connection)
        closed(connection)

    return check


def stream_error(*codes):
    """RST_STREAM or GOAWAY with one of these codes: a stream error may be made one of the connection (§5.4.2)."""

    def test(_, got):
        if isinstance(got, GoAwayFrame) and got.error_code == PROTOCOL_ERROR:
            return True
        return isinstance(got, (RstStreamFrame, GoAwayFrame)) and got.error_code in codes

    return _await(f"RST_STREAM or GOAWAY {_named(codes)}", test)


def reset_with(stream, code):
    def test(_, got):
        return isinstance(got, RstStreamFrame) and (got.stream_id, got.error_code) == (stream, code)

    return _await(f"RST_STREAM({stream}) {CODES[code]}", test)


def answered(stream=1, status="200"):
    def test(connection, got):
        if not isinstance(got, HeadersFrame):
            return False
        fields = dict(connection.decoder.decode(got.data))
        if got.stream_id != stream or fields.get(":status") != status:
            raise Wrong(f"stream {got.stream_id} was answered with {fields}, wanted {status} on {stream}")
        return True

    return _await(f"an answer {status} on stream {stream}", test)


def ended(stream=1):
    return _await(
        f"END_STREAM on stream {stream}", lambda _, got: got.stream_id == stream and "END_STREAM" in got.flags
    )


def body_of(length):
    """The next DATA frame has this length."""

    def test(_, got):
        if isinstance(got, DataFrame) and len(got.data) != length:
            raise Wrong(f"{describe(got)}, wanted {length} bytes")
        return isinstance(got, DataFrame)

    return _await(f"DATA of {length} bytes", test)


some_body = _await("DATA", lambda _, got: isinstance(got, DataFrame))
acknowledged = _await("the acknowledgement of SETTINGS", lambda _, got: isinstance(got, SettingsFrame) and "ACK" in got.flags)


def pong(payload=bytes(8)):
    def test(_, got):
        if isinstance(got, PingFrame) and got.opaque_data != payload:
            raise Wrong(f"PING with {got.opaque_data!r}, wanted {payload!r}")
        return isinstance(got, PingFrame) and "ACK" in got.flags

    return _await("the answer to PING", test)


def pong_or_closed(connection):
    """Either is allowed; an error is not."""
    try:
        while True:
            got = connection.receive()
            if isinstance(got, PingFrame) and "ACK" in got.flags:
                return
            if isinstance(got, GoAwayFrame) and got.error_code != NO_ERROR:
                raise Wrong(f"{describe(got)}, wanted an answer to PING or the end")
    except Closed:
        return
    except Silence:
        raise Wrong("wanted an answer to PING or the end, then silence") from None


def settings_first(connection):
    try:
        got = connection.receive()
    except (Silence, Closed) as end:
        raise Wrong(f"wanted SETTINGS, then {type(end).__name__.lower()}") from None
    if not isinstance(got, SettingsFrame) or "ACK" in got.flags:
        raise Wrong(f"the first frame is {describe(got)}")
