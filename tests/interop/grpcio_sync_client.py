"""grpc's blocking client against the toy service; a program of its own for grpc's threads.

Arguments: port, directory with ca.crt, alice.crt and alice.key, one of gRPC's interoperability
cases, or full_speed=N for N chunks of 64 KiB. Exit status 0: it held.
"""

import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from google.rpc import error_details_pb2, status_pb2

TIMEOUT_S = 15
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"


class Client:
    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def method(self, kind: str, name: str, request: Any, response: Any) -> Any:
        return getattr(self.channel, kind)(
            name if "/" in name else f"/toy.Toy/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def echo(self, data: bytes = b"", **options: Any) -> bytes:
        call = self.method("unary_unary", "Echo", BytesValue, BytesValue)
        return bytes(call(BytesValue(value=data), timeout=TIMEOUT_S, **options).value)

    def error_of(self, name: str, text: str = "", timeout: float = TIMEOUT_S) -> grpc.RpcError:
        try:
            call = self.method("unary_unary", name, StringValue, StringValue)
            call(StringValue(value=text), timeout=timeout)
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"{name} did not fail")

    def empty_unary(self) -> None:
        assert self.echo() == b""

    def large_unary(self) -> None:
        data = bytes(range(256)) * 10_000
        assert self.echo(data) == data

    def client_streaming(self) -> None:
        call = self.method("stream_unary", "Total", Int64Value, Int64Value)
        numbers = (Int64Value(value=number) for number in range(500))
        assert call(numbers, timeout=TIMEOUT_S).value == 124_750

    def server_streaming(self) -> None:
        call = self.method("unary_stream", "Count", Int64Value, Int64Value)
        got = [message.value for message in call(Int64Value(value=2000), timeout=TIMEOUT_S)]
        assert got == list(range(2000))

    def both(self) -> tuple["queue.SimpleQueue[int | None]", Any]:
        """A call's outgoing numbers, ended by None, and the call."""
        outgoing: queue.SimpleQueue[int | None] = queue.SimpleQueue()

        def messages() -> Iterator[Int64Value]:
            while (number := outgoing.get()) is not None:
                yield Int64Value(value=number)

        method = self.method("stream_stream", "Both", Int64Value, Int64Value)
        return outgoing, method(messages(), timeout=TIMEOUT_S)

    def ping_pong(self) -> None:
        outgoing, call = self.both()
        for number in range(20):
            outgoing.put(number)
            assert next(call).value == number
        outgoing.put(None)
        assert list(call) == []
        assert call.code() is grpc.StatusCode.OK

    def full_speed(self, chunks: int) -> None:
        call = self.method("unary_stream", "Flood", Int64Value, BytesValue)
        assert sum(len(message.value) for message in call(Int64Value(value=chunks))) == chunks << 16

    def cancel_after_begin(self) -> None:
        outgoing: queue.SimpleQueue[Int64Value] = queue.SimpleQueue()
        method = self.method("stream_unary", "Total", Int64Value, Int64Value)
        call = method.future(iter(outgoing.get, Int64Value()), timeout=TIMEOUT_S)
        call.cancel()
        outgoing.put(Int64Value())
        assert call.cancelled()
        assert call.code() is grpc.StatusCode.CANCELLED

    def cancel_after_first_response(self) -> None:
        outgoing, call = self.both()
        outgoing.put(1)
        assert next(call).value == 1
        call.cancel()
        outgoing.put(None)
        assert call.code() is grpc.StatusCode.CANCELLED

    def timeout_on_sleeping_server(self) -> None:
        self.empty_unary()  # connecting is not what takes the time
        assert self.error_of("Wait", timeout=0.5).code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def status_code_and_message(self) -> None:
        error = self.error_of("Fail", "FAILED_PRECONDITION:test status message")
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert error.details() == "test status message"
        trailers = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        detail = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(detail)
        assert detail.reason == "TOY"
        method = self.method("unary_stream", "FailLate", StringValue, StringValue)
        call = method(StringValue(value="UNKNOWN"), timeout=TIMEOUT_S)
        assert next(call).value == "UNKNOWN"
        assert call.code() is grpc.StatusCode.UNKNOWN
        assert call.details() == "after a message"

    def special_status_message(self) -> None:
        error = self.error_of("Fail", f"UNKNOWN:{SPECIAL}")
        assert error.code() is grpc.StatusCode.UNKNOWN
        assert error.details() == SPECIAL

    def unimplemented_method(self) -> None:
        assert self.error_of("Nothing").code() is grpc.StatusCode.UNIMPLEMENTED

    def unimplemented_service(self) -> None:
        assert self.error_of("/toy.Absent/Echo").code() is grpc.StatusCode.UNIMPLEMENTED

    def custom_metadata(self) -> None:
        metadata = (
            ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
            ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
        )
        self.echo(metadata=metadata)

    def too_much_metadata(self) -> None:
        outgoing, call = self.both()
        outgoing.put(1)
        assert next(call).value == 1
        method = self.method("unary_unary", "Echo", BytesValue, BytesValue)
        future = method.future(BytesValue(), TIMEOUT_S, metadata=(("x", "y" * 20_000),))
        assert future.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        outgoing.put(2)
        assert next(call).value == 2
        outgoing.put(None)
        assert not list(call)


def main(port: str, directory: Path, case: str) -> None:
    ca, key, certificate = (
        (directory / name).read_bytes() for name in ("ca.crt", "alice.key", "alice.crt")
    )
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        client = Client(channel)
        name, _, number = case.partition("=")
        getattr(client, name)(*([int(number)] if number else []))
        client.empty_unary()  # the connection has outlived it


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
