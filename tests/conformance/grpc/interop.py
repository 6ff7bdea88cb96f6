"""The interop cases of gRPC through the gateway, and what this gateway promises on top of them:
`interop.py INSTANCE GATEWAY AUTHORITY TOKEN CA|-`. The server runs at INSTANCE in this process, so that both ends share a
clock. One JSON object a line: case, title, fault.
"""

import json
import sys
import threading
import time

import grpc

from server import ECHO_INITIAL, ECHO_TRAILING, empty_pb2, messages_pb2, payload, start, test_pb2_grpc

LIMIT = 20
# Longer than a case waits for anything.
FOR_EVER = 3600
SIZES_OUT, SIZES_IN = (31415, 9, 2653, 58979), (27182, 8, 1828, 45904)
WEIRD = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
CASES = []


def case(function):
    CASES.append(function)
    return function


def same(what, got, wanted):
    assert got == wanted, f"{what}: {got!r}, wanted {wanted!r}"


def output(*sizes, interval=0, compressed=False, **more):
    parameters = [
        messages_pb2.ResponseParameters(size=size, interval_us=interval, compressed={"value": compressed}) for size in sizes
    ]
    return messages_pb2.StreamingOutputCallRequest(response_parameters=parameters, **more)


def sizes(responses):
    return tuple(len(response.payload.body) for response in responses)


def failure(call, code):
    """The error that the call ends with."""
    try:
        result = call()
        if hasattr(result, "__next__"):
            list(result)
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} ({error.details()}), wanted {code}"
        return error
    raise AssertionError(f"no error, wanted {code}")


# === The interop cases (grpc/doc/interop-test-descriptions.md) ===


@case
def empty_unary(t):
    same("the answer", t.stub.EmptyCall(empty_pb2.Empty(), timeout=LIMIT), empty_pb2.Empty())


def unary(t, **more):
    request = messages_pb2.SimpleRequest(response_size=314159, payload=payload(271828), **more)
    return request, t.stub.UnaryCall


@case
def large_unary(t):
    request, call = unary(t)
    same("size", len(call(request, timeout=LIMIT).payload.body), 314159)


@case
def client_compressed_unary(t):
    request, call = unary(t)
    same("size", len(call(request, timeout=LIMIT, compression=grpc.Compression.Gzip).payload.body), 314159)
    same("size", len(call(request, timeout=LIMIT, compression=grpc.Compression.NoCompression).payload.body), 314159)


@case
def server_compressed_unary(t):
    for compressed in (True, False):
        request, call = unary(t, response_compressed={"value": compressed})
        same("size", len(call(request, timeout=LIMIT).payload.body), 314159)


@case
def client_streaming(t):
    requests = (messages_pb2.StreamingInputCallRequest(payload=payload(size)) for size in SIZES_IN)
    same("total", t.stub.StreamingInputCall(requests, timeout=LIMIT).aggregated_payload_size, 74922)


@case
def client_compressed_streaming(t):
    requests = (messages_pb2.StreamingInputCallRequest(payload=payload(size)) for size in (27182, 45904))
    answer = t.stub.StreamingInputCall(requests, timeout=LIMIT, compression=grpc.Compression.Gzip)
    same("total", answer.aggregated_payload_size, 73086)


@case
def server_streaming(t):
    same("sizes", sizes(t.stub.StreamingOutputCall(output(*SIZES_OUT), timeout=LIMIT)), SIZES_OUT)


@case
def server_compressed_streaming(t):
    same("sizes", sizes(t.stub.StreamingOutputCall(output(31415, 92653, compressed=True), timeout=LIMIT)), (31415, 92653))


class Pipe:
    """Requests of a stream, given one by one."""

    def __init__(self):
        self.condition, self.waiting, self.closed = threading.Condition(), [], False

    def put(self, request):
        with self.condition:
            self.waiting.append(request)
            self.condition.notify()

    def close(self):
        with self.condition:
            self.closed = True
            self.condition.notify()

    def __iter__(self):
        return self

    def __next__(self):
        with self.condition:
            self.condition.wait_for(lambda: self.waiting or self.closed)
            if self.waiting:
                return self.waiting.pop(0)
            raise StopIteration


@case
def ping_pong(t):
    pipe = Pipe()
    answers = t.stub.FullDuplexCall(pipe, timeout=LIMIT)
    for out, given in zip(SIZES_OUT, SIZES_IN):
        # Each waits for the one before: nothing may be held back in either direction.
        pipe.put(output(out, payload=payload(given)))
        same("size", len(next(answers).payload.body), out)
    pipe.close()
    same("more answers", list(answers), [])


@case
def empty_stream(t):
    same("answers", list(t.stub.FullDuplexCall(iter(()), timeout=LIMIT)), [])


@case
def custom_metadata(t):
    metadata = ((ECHO_INITIAL, "test_initial_metadata_value"), (ECHO_TRAILING, b"\xab\xab\xab\x00\xff"))
    request = messages_pb2.SimpleRequest(response_size=314159, payload=payload(271828))
    _, unary_call = t.stub.UnaryCall.with_call(request, metadata=metadata, timeout=LIMIT)
    stream_call = t.stub.FullDuplexCall(iter([output(314159, payload=payload(271828))]), metadata=metadata, timeout=LIMIT)
    same("sizes", sizes(stream_call), (314159,))
    for call in (unary_call, stream_call):
        same("initial metadata", dict(call.initial_metadata()).get(ECHO_INITIAL), metadata[0][1])
        same("trailing metadata", dict(call.trailing_metadata()).get(ECHO_TRAILING), metadata[1][1])


def with_status(t, code, message):
    status = messages_pb2.EchoStatus(code=code.value[0], message=message)
    yield lambda: t.stub.UnaryCall(messages_pb2.SimpleRequest(response_status=status), timeout=LIMIT)
    yield lambda: t.stub.FullDuplexCall(iter([output(response_status=status)]), timeout=LIMIT)


@case
def status_code_and_message(t):
    for call in with_status(t, grpc.StatusCode.UNKNOWN, "test status message"):
        same("message", failure(call, grpc.StatusCode.UNKNOWN).details(), "test status message")


@case
def special_status_message(t):
    for call in with_status(t, grpc.StatusCode.UNKNOWN, WEIRD):
        same("message", failure(call, grpc.StatusCode.UNKNOWN).details(), WEIRD)


@case
def every_status_code(t):
    for code in grpc.StatusCode:
        if code is not grpc.StatusCode.OK:
            for call in with_status(t, code, code.name):
                same("message", failure(call, code).details(), code.name)


@case
def unimplemented_method(t):
    failure(lambda: t.stub.UnimplementedCall(empty_pb2.Empty(), timeout=LIMIT), grpc.StatusCode.UNIMPLEMENTED)


@case
def unimplemented_service(t):
    stub = test_pb2_grpc.UnimplementedServiceStub(t.channel)
    failure(lambda: stub.UnimplementedCall(empty_pb2.Empty(), timeout=LIMIT), grpc.StatusCode.UNIMPLEMENTED)


@case
def cancel_after_begin(t):
    call = t.stub.StreamingInputCall.future(Pipe(), timeout=LIMIT)
    call.cancel()
    same("cancelled", call.cancelled(), True)
    same("code", call.code(), grpc.StatusCode.CANCELLED)


@case
def cancel_after_first_response(t):
    pipe = Pipe()
    call = t.stub.FullDuplexCall(pipe, timeout=LIMIT)
    pipe.put(output(31415, payload=payload(27182)))
    same("size", len(next(call).payload.body), 31415)
    call.cancel()
    failure(lambda: call, grpc.StatusCode.CANCELLED)


@case
def timeout_on_sleeping_server(t):
    pipe = Pipe()
    pipe.put(messages_pb2.StreamingOutputCallRequest(payload=payload(27182)))
    failure(lambda: t.stub.FullDuplexCall(pipe, timeout=0.001), grpc.StatusCode.DEADLINE_EXCEEDED)


# === What the gateway promises besides ===


@case
def deadlines_reach_the_server(t):
    # On its way a deadline is rounded up to what `grpc-timeout` can say.
    for timeout in (60.0, 600.0):
        t.stub.EmptyCall(empty_pb2.Empty(), timeout=timeout)
        remaining = t.service.remaining
        assert remaining is not None and abs(remaining - timeout) < LIMIT, f"{remaining} of {timeout} s are left"


def cancellation_arrives(t, begin):
    """The server's call ends because the client cancels it: it would go on for ever."""
    calls = t.service.calls
    for number in range(3):
        name = f"{begin.__qualname__}/{number}"
        call = begin([("x-call", name)])
        assert calls.wait(lambda: name in calls.begun), "the call never reached the server"
        time.sleep(0.05)
        assert name not in calls.ended, "the call ended by itself"
        call.cancel()
        assert calls.wait(lambda: name in calls.ended), "the server was never told"


HANG = ("x-hang", "1")


@case
def cancelling_reaches_a_unary_call(t):
    def begin(metadata):
        return t.stub.EmptyCall.future(empty_pb2.Empty(), metadata=[*metadata, HANG], timeout=FOR_EVER)

    cancellation_arrives(t, begin)


@case
def cancelling_reaches_a_client_stream(t):
    def begin(metadata):
        pipe = Pipe()
        pipe.put(messages_pb2.StreamingInputCallRequest(payload=payload(100)))
        return t.stub.StreamingInputCall.future(pipe, metadata=metadata, timeout=FOR_EVER)

    cancellation_arrives(t, begin)


@case
def cancelling_reaches_a_server_stream(t):
    def begin(metadata):
        call = t.stub.StreamingOutputCall(output(*[100] * 5000, interval=20_000), metadata=metadata, timeout=FOR_EVER)
        next(call)
        return call

    cancellation_arrives(t, begin)


@case
def cancelling_reaches_a_duplex_stream(t):
    def begin(metadata):
        pipe = Pipe()
        call = t.stub.FullDuplexCall(pipe, metadata=metadata, timeout=FOR_EVER)
        pipe.put(output(100))
        next(call)
        return call

    cancellation_arrives(t, begin)


@case
def a_deadline_ends_the_server_too(t):
    calls = t.service.calls
    metadata = [("x-call", "deadline"), HANG]
    failure(lambda: t.stub.EmptyCall(empty_pb2.Empty(), metadata=metadata, timeout=0.5), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert calls.wait(lambda: "deadline" in calls.ended), "the server was never told"


@case
def trailers_are_never_lost(t):
    """Two hundred calls at a time, half of them failing, each with trailers of its own."""
    faults = []

    def converse(number):
        for turn in range(20):
            value = f"{number}/{turn}".encode()
            metadata = ((ECHO_TRAILING, value),)
            status = messages_pb2.EchoStatus(code=turn % 2 * 5, message=value.decode())
            request = messages_pb2.SimpleRequest(response_size=turn * 1000, response_status=status)
            try:
                _, call = t.stub.UnaryCall.with_call(request, metadata=metadata, timeout=LIMIT)
            except grpc.RpcError as error:
                call = error
            got = (call.code().value[0], dict(call.trailing_metadata() or ()).get(ECHO_TRAILING))
            if got != (turn % 2 * 5, value):
                faults.append(f"{got}, wanted {(turn % 2 * 5, value)}: {call.details()}")

    threads = [threading.Thread(target=converse, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same("faults", faults[:3], [])


@case
def a_stream_may_be_longer_than_a_message(t):
    """The limit is one of a message (1 MiB): a stream of many may carry more."""
    requests = (messages_pb2.StreamingInputCallRequest(payload=payload(500_000)) for _ in range(8))
    same("total", t.stub.StreamingInputCall(requests, timeout=LIMIT).aggregated_payload_size, 4_000_000)


@case
def a_message_that_is_too_long_is_refused(t):
    request = messages_pb2.SimpleRequest(payload=payload((1 << 20) + 100))
    failure(lambda: t.stub.UnaryCall(request, timeout=LIMIT), grpc.StatusCode.RESOURCE_EXHAUSTED)
    requests = (messages_pb2.StreamingInputCallRequest(payload=payload(size)) for size in (1000, (1 << 20) + 100))
    failure(lambda: t.stub.StreamingInputCall(requests, timeout=LIMIT), grpc.StatusCode.RESOURCE_EXHAUSTED)


@case
def a_long_answer_is_not_limited(t):
    same("sizes", sizes(t.stub.StreamingOutputCall(output(*[1 << 20] * 8), timeout=LIMIT)), (1 << 20,) * 8)


@case
def a_wrong_token_is_unauthenticated(t):
    for token in ("Bearer wrong", None):
        stub = test_pb2_grpc.TestServiceStub(t.open(token))
        error = failure(lambda: stub.EmptyCall(empty_pb2.Empty(), timeout=LIMIT), grpc.StatusCode.UNAUTHENTICATED)
        assert error.details(), "no message"


@case
def a_service_of_http_answers_unimplemented(t):
    """GR-1: gRPC is enabled by service; one that is not says so in gRPC's own words."""
    call = t.channel.unary_unary("/web/Method", empty_pb2.Empty.SerializeToString, empty_pb2.Empty.FromString)
    error = failure(lambda: call(empty_pb2.Empty(), timeout=LIMIT), grpc.StatusCode.UNIMPLEMENTED)
    # The gateway's own reason came in the trailers, as the only ones.
    same("reason", dict(error.trailing_metadata() or ()).get("x-gateway-error"), "grpc_disabled")


@case
def a_dead_instance_is_unavailable(t):
    call = t.channel.unary_unary("/dead/Method", empty_pb2.Empty.SerializeToString, empty_pb2.Empty.FromString)
    failure(lambda: call(empty_pb2.Empty(), timeout=LIMIT), grpc.StatusCode.UNAVAILABLE)


@case
def an_instance_that_breaks_off_is_never_ok(t):
    """Last, because it stops the server in the middle of a stream: no trailers came, and none may be made up."""
    call = t.stub.StreamingOutputCall(output(*[100] * 500, interval=20_000), timeout=LIMIT)
    next(call)
    t.server.stop(0)
    try:
        list(call)
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED), error.code()
        return
    raise AssertionError("a stream that broke off ended with OK")


class Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor,
             grpc.StreamUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Adds the token to every call."""

    def __init__(self, token):
        self.token = token

    def add(self, proceed, details, request):
        metadata = [*(details.metadata or ()), ("authorization", self.token)]
        return proceed(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = add


class Tested:
    def __init__(self, instance, gateway, authority, token, trust):
        self.service, self.server = start(instance)
        self.gateway, self.authority, self.trust = gateway, authority, trust
        self.channel = self.open(f"Bearer {token}")
        self.stub = test_pb2_grpc.TestServiceStub(self.channel)

    def open(self, token):
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                   ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        if self.trust == "-":
            channel = grpc.insecure_channel(self.gateway, [*options, ("grpc.default_authority", self.authority)])
        else:
            with open(self.trust, "rb") as file:
                credentials = grpc.ssl_channel_credentials(file.read())
            options.append(("grpc.ssl_target_name_override", self.authority))
            channel = grpc.secure_channel(self.gateway, credentials, options)
        return grpc.intercept_channel(channel, Bearer(token)) if token else channel


def main():
    tested = Tested(*sys.argv[1:])
    for function in CASES:
        fault, started = None, time.monotonic()
        try:
            function(tested)
        except Exception as broken:
            fault = f"{type(broken).__name__}: {broken}"
        took = f"{time.monotonic() - started:.2f} s"
        print(json.dumps({"case": function.__name__, "title": took, "fault": fault}), flush=True)
    tested.server.stop(0)


main()
