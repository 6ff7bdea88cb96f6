"""The interop server: gRPC's own test service (`grpc/testing/test.proto`), which remembers how its calls ended."""

import os
import sys
import tempfile
import threading
import time
from concurrent import futures

import grpc
from grpc_tools import protoc

PROTOS = "/usr/share/grpc-proto"
ECHO_INITIAL, ECHO_TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"


def _compile():
    """Makes modules of the official protos. Their package is called `grpc.testing`, which is the library's own room."""
    out = tempfile.mkdtemp(prefix="gateway-interop-")
    names = [f"grpc/testing/{name}.proto" for name in ("empty", "messages", "test")]
    if protoc.main(["protoc", f"-I{PROTOS}", f"--python_out={out}", f"--grpc_python_out={out}", *names]) != 0:
        sys.exit(f"the protos of {PROTOS} do not compile: run `cargo xtask setup`")
    grpc.__path__.append(os.path.join(out, "grpc"))


_compile()
from grpc.testing import empty_pb2, messages_pb2, test_pb2_grpc  # noqa: E402


class Calls:
    """When named calls (`x-call`) began and ended, from the server's side."""

    def __init__(self):
        self.condition = threading.Condition()
        self.begun, self.ended = set(), set()

    def watch(self, name, context):
        with self.condition:
            self.begun.add(name)
            self.condition.notify_all()
        context.add_callback(lambda: self.note(name))

    def note(self, name):
        with self.condition:
            self.ended.add(name)
            self.condition.notify_all()

    def wait(self, ready, patience=20.0):
        with self.condition:
            return self.condition.wait_for(ready, patience)


class Service(test_pb2_grpc.TestServiceServicer):
    def __init__(self):
        self.calls = Calls()
        self.remaining = None

    def open(self, context):
        """What every call begins with."""
        self.remaining = context.time_remaining()
        metadata = dict(context.invocation_metadata())
        if "x-call" in metadata:
            self.calls.watch(metadata["x-call"], context)
        if ECHO_INITIAL in metadata:
            context.send_initial_metadata(((ECHO_INITIAL, metadata[ECHO_INITIAL]),))
        if ECHO_TRAILING in metadata:
            context.set_trailing_metadata(((ECHO_TRAILING, metadata[ECHO_TRAILING]),))
        if "x-hang" in metadata:
            # Until the call is cancelled, which is when the callback comes.
            done = threading.Event()
            context.add_callback(done.set)
            done.wait(60)

    def refuse(self, request, context):
        status = request.response_status
        if status.code:
            context.set_code(next(code for code in grpc.StatusCode if code.value[0] == status.code))
            context.set_details(status.message)
            return True
        return False

    def EmptyCall(self, request, context):
        self.open(context)
        return empty_pb2.Empty()

    def UnaryCall(self, request, context):
        self.open(context)
        if request.response_compressed.value:
            context.set_compression(grpc.Compression.Gzip)
        if self.refuse(request, context):
            return messages_pb2.SimpleResponse()
        return messages_pb2.SimpleResponse(payload=payload(request.response_size))

    def StreamingOutputCall(self, request, context):
        self.open(context)
        yield from self.outputs(request, context)

    def StreamingInputCall(self, requests, context):
        self.open(context)
        total = sum(len(request.payload.body) for request in requests)
        return messages_pb2.StreamingInputCallResponse(aggregated_payload_size=total)

    def FullDuplexCall(self, requests, context):
        self.open(context)
        for request in requests:
            if self.refuse(request, context):
                return
            yield from self.outputs(request, context)

    def outputs(self, request, context):
        for parameters in request.response_parameters:
            if not context.is_active():
                return
            if parameters.compressed.value:
                context.set_compression(grpc.Compression.Gzip)
            time.sleep(parameters.interval_us / 1e6)
            yield messages_pb2.StreamingOutputCallResponse(payload=payload(parameters.size))


def payload(size):
    return messages_pb2.Payload(body=bytes(size))


def start(address):
    """Serves at `address`; the service and the server."""
    service = Service()
    server = grpc.server(futures.ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
    test_pb2_grpc.add_TestServiceServicer_to_server(service, server)
    if not server.add_insecure_port(address):
        sys.exit(f"cannot listen at {address}")
    server.start()
    return service, server
