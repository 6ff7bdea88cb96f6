"""Replayed attacks: `floods.py HOST PORT tls|plain VICTIM BYSTANDER ATTACK`, the services as paths. An attack must end with
the connection closed, said with ENHANCE_YOUR_CALM, while a client on a connection of its own is served as if nothing
were. `floods.py list` names the attacks.
"""

import json
import select
import sys
import threading
import time

import h2.config
import h2.connection
import h2.events

from expect import Wrong, closed
from wire import *

# More pieces than any bound of the gateway lets through; what is sent is bounded by it too.
PLENTY = 20_000


class Attacker(Connection):
    def pour(self, pieces):
        """Sends until the other side closes; reads meanwhile, as an attacker does who wants no back pressure."""
        for piece in pieces:
            self.send(piece)
            if self.drained():
                return

    def drained(self):
        """Takes in what is there; whether the other side has said goodbye."""
        while not self.eof:
            pending = self.target.tls and self.socket.pending()
            if not pending and not select.select([self.socket], [], [], 0)[0]:
                break
            try:
                self.receive(patience=0.05)
            except (Silence, Closed):
                break
        return self.eof or any(isinstance(got, GoAwayFrame) for got in self.seen)

    def calmed(self):
        """GOAWAY said why, and the connection is closed."""
        closed(self)
        codes = [CODES[got.error_code] for got in self.seen if isinstance(got, GoAwayFrame)]
        if codes[-1:] != ["ENHANCE_YOUR_CALM"]:
            raise Wrong(f"closed after GOAWAY {codes}")


def streams():
    return range(1, 2 * PLENTY, 2)


# === The attacks ===


def rapid_reset(target, slow):
    """CVE-2023-44487 as it was seen: requests and their cancellations in one go."""
    with Attacker(target).handshake() as attacker:
        request = target.request(path=slow)
        attacker.pour(b"".join(headers(s, request) + reset(s) for s in range(first, first + 200, 2))
                      for first in range(1, 2 * PLENTY, 200))
        attacker.calmed()


def patient_reset(target, slow):
    """The same, but each request is let through to its instance before it is cancelled."""
    with Attacker(target).handshake() as attacker:
        request = target.request(path=slow)

        def pieces():
            for first in range(1, 2 * PLENTY, 20):
                group = range(first, first + 20, 2)
                yield b"".join(headers(s, request) for s in group)
                time.sleep(0.002)
                yield b"".join(reset(s) for s in group)

        attacker.pour(pieces())
        attacker.calmed()


def continuation(target, _):
    """CVE-2024-27316 and its kin: a header block without an end."""
    with Attacker(target).handshake() as attacker:
        attacker.send(headers(1, target.request(), 0))
        attacker.pour(frame(CONTINUATION, 0, 1, block([(f"x-{number}", "y" * 100)])) for number in range(PLENTY))
        attacker.calmed()


def empty_continuation(target, _):
    """The same with frames of nothing, which no bound on bytes can see."""
    with Attacker(target).handshake() as attacker:
        attacker.send(headers(1, target.request(), 0))
        attacker.pour(frame(CONTINUATION, 0, 1) for _ in range(PLENTY))
        attacker.calmed()


def repeated(piece, opening=lambda target: b""):
    """One frame over and over (CVE-2019-9512, -9513, -9515, -9518)."""

    def attack(target, _):
        with Attacker(target).handshake() as attacker:
            attacker.send(opening(target))
            attacker.pour(piece * 50 for _ in range(PLENTY // 50))
            attacker.calmed()

    return attack


def endless_goodbye(target, _):
    """GOAWAY over and over. The first one is taken at its word: no reason has to be given."""
    with Attacker(target).handshake() as attacker:
        attacker.pour(go_away() * 50 for _ in range(PLENTY // 50))
        closed(attacker)


def open_upload(target):
    return headers(1, target.request("POST"), END_HEADERS)


def forced_reset(fault):
    """CVE-2025-8671: it is we who reset the stream, while its instance works on."""

    def attack(target, slow):
        with Attacker(target).handshake() as attacker:
            get, post = target.request(path=slow), target.request("POST", slow)
            attacker.pour(fault(s, get, post) for s in streams())
            attacker.calmed()

    return attack


def window_above_the_maximum(stream, _, post):
    return headers(stream, post, END_HEADERS) + window(stream, (1 << 31) - 1)


def data_after_the_end(stream, get, _):
    # hyper makes a connection error of it, which is the bound at its tightest.
    return headers(stream, get) + data(stream)


def more_than_declared(stream, _, post):
    return headers(stream, post + [("content-length", "1")], END_HEADERS) + data(stream)


def second_head(stream, _, post):
    return headers(stream, post, END_HEADERS) + headers(stream, [("x-test", "ok")], END_HEADERS)


def malformed_head(stream, get, _):
    return headers(stream, get + [("connection", "close")])


def many_fields(target, _):
    """More fields than the gateway takes, in few bytes: the request is refused, and it alone."""
    with Connection(target).handshake() as connection:
        for stream, fields in ((1, [(f"f{n}", "") for n in range(200)]), (3, [(f"f{n}", "") for n in range(1100)])):
            connection.send(headers(stream, target.request() + fields))
            while True:
                got = connection.receive()
                if isinstance(got, HeadersFrame):
                    status = dict(connection.decoder.decode(got.data)).get(":status")
                    if (got.stream_id, status) != (stream, "431"):
                        raise Wrong(f"{len(fields)} fields were answered with {status}")
                    break


def table_bomb(target, _):
    """CVE-2016-6581: a field of 4 KiB in the decoder's table, and a frame full of references to it."""
    with Attacker(target).handshake() as attacker:
        # Literal with incremental indexing, new name; then index 62, the newest of the table.
        entry = b"\x40\x01x\x7f" + bytes([0x80 | (4000 - 127) & 0x7F, (4000 - 127) >> 7]) + b"y" * 4000
        attacker.send(headers(1, None, payload=block(target.request()) + entry))
        attacker.pour(headers(s, None, payload=block(target.request()) + b"\xbe" * 12_000) for s in streams() if s > 1)
        attacker.calmed()


ATTACKS = {
    "rapid reset": rapid_reset,
    "patient reset": patient_reset,
    "CONTINUATION": continuation,
    "empty CONTINUATION": empty_continuation,
    "SETTINGS": repeated(settings((INITIAL_WINDOW_SIZE, 65535))),
    "empty SETTINGS": repeated(settings()),
    "PING": repeated(ping()),
    "PRIORITY": repeated(priority(1)),
    "WINDOW_UPDATE": repeated(window(0, 1)),
    "unknown frames": repeated(frame(0x16, 0, 0, b"")),
    "GOAWAY": endless_goodbye,
    "empty DATA": repeated(data(1, b"", 0), open_upload),
    "forced reset: window": forced_reset(window_above_the_maximum),
    "forced reset: content-length": forced_reset(more_than_declared),
    "forced reset: second head": forced_reset(second_head),
    "forced reset: malformed head": forced_reset(malformed_head),
    "table bomb": table_bomb,
    "many fields": many_fields,
}


# === The bystander ===


class Bystander(threading.Thread):
    """A well-behaved client: one request after another on one connection, by a library of others."""

    def __init__(self, target):
        super().__init__(daemon=True)
        self.target, self.stop, self.times, self.fault = target, threading.Event(), [], None

    def run(self):
        try:
            with Connection(self.target) as connection:
                self.converse(connection.socket)
        except Exception as broken:
            self.fault = f"{type(broken).__name__}: {broken}"

    def converse(self, stream):
        stream.settimeout(PATIENCE)
        protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        protocol.initiate_connection()
        while not self.stop.is_set():
            started = time.monotonic()
            number = protocol.get_next_available_stream_id()
            protocol.send_headers(number, self.target.request(), end_stream=True)
            status, over = None, False
            while not over:
                stream.sendall(protocol.data_to_send())
                got = stream.recv(65536)
                if not got:
                    raise Wrong("the bystander's connection was closed")
                for event in protocol.receive_data(got):
                    if isinstance(event, h2.events.ResponseReceived):
                        status = dict(event.headers)[":status"]
                    elif isinstance(event, h2.events.StreamEnded):
                        over = True
                    elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                        raise Wrong(f"the bystander got {event}")
            if status != "200":
                raise Wrong(f"the bystander was answered with {status}")
            self.times.append(time.monotonic() - started)
            time.sleep(0.002)


def main():
    if sys.argv[1:] == ["list"]:
        print("\n".join(ATTACKS))
        return
    host, port, tls, victim, other, name = sys.argv[1:]
    target = Target(host, int(port), tls == "tls", f"{victim}/fixed")
    bystander = Bystander(Target(host, int(port), tls == "tls", f"{other}/fixed"))
    bystander.start()
    fault = None
    started = time.monotonic()
    try:
        ATTACKS[name](target, f"{victim}/slow")
    except Exception as broken:
        fault = f"{type(broken).__name__}: {broken}"
    took = time.monotonic() - started
    # It was served in the attack, and goes on after it.
    before = len(bystander.times)
    deadline = time.monotonic() + PATIENCE
    while bystander.is_alive() and len(bystander.times) < before + 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    bystander.stop.set()
    bystander.join(PATIENCE)
    slowest = max(bystander.times, default=0)
    if len(bystander.times) < before + 2:
        fault = fault or bystander.fault or "the bystander is not served any more"
    if slowest > PATIENCE / 2:
        fault = fault or f"the bystander waited {slowest:.1f} s"
    title = f"{took:.2f} s; bystander: {len(bystander.times)} requests, {slowest:.3f} s at most"
    print(json.dumps({"case": name, "title": title, "fault": fault}), flush=True)


main()
