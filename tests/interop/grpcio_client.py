"""grpc.aio against the toy service; a program of its own: grpc brings threads and asyncio.

Arguments: port, directory with ca.crt, alice.crt and alice.key, cases (none: every one), or
full_speed=N for N chunks of 64 KiB. Exit status 0: all held. The cases are those of gRPC's
interoperability suite that apply, and some more.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from google.rpc import error_details_pb2, status_pb2

SERVICE = "toy.Toy"
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"


class Client:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    def method(self, kind: str, name: str, request: Any, response: Any) -> Any:
        return getattr(self.channel, kind)(
            f"/{SERVICE}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    @property
    def echo(self) -> Any:
        return self.method("unary_unary", "Echo", BytesValue, BytesValue)

    async def empty_unary(self) -> None:
        assert (await self.echo(BytesValue())).value == b""

    async def large_unary(self) -> None:
        data = bytes(range(256)) * 10_000
        assert (await self.echo(BytesValue(value=data))).value == data

    async def hundreds_at_once(self) -> None:
        answers = await asyncio.gather(
            *(self.echo(BytesValue(value=b"%d" % i)) for i in range(300))
        )
        assert [answer.value for answer in answers] == [b"%d" % i for i in range(300)]

    async def server_streaming(self) -> None:
        call = self.method("unary_stream", "Count", Int64Value, Int64Value)
        got = [message.value async for message in call(Int64Value(value=2000))]
        assert got == list(range(2000))

    async def large_stream(self) -> None:
        await self.full_speed(1000)

    async def full_speed(self, chunks: int) -> None:
        call = self.method("unary_stream", "Flood", Int64Value, BytesValue)
        total = 0
        async for message in call(Int64Value(value=chunks)):
            total += len(message.value)
        assert total == chunks * 65_536, total

    async def client_streaming(self) -> None:
        call = self.method("stream_unary", "Total", Int64Value, Int64Value)
        numbers = (Int64Value(value=number) for number in range(500))
        assert (await call(numbers)).value == 124_750

    async def ping_pong(self) -> None:
        call = self.method("stream_stream", "Both", Int64Value, Int64Value)()
        for number in range(20):
            await call.write(Int64Value(value=number))
            assert (await call.read()).value == number
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK

    async def empty_stream(self) -> None:
        call = self.method("stream_stream", "Both", Int64Value, Int64Value)()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF

    async def cancel_after_begin(self) -> None:
        call = self.method("stream_unary", "Total", Int64Value, Int64Value)()
        await call.wait_for_connection()
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED

    async def cancel_after_first_response(self) -> None:
        call = self.method("stream_stream", "Both", Int64Value, Int64Value)()
        await call.write(Int64Value(value=1))
        await call.read()
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED

    async def timeout_on_sleeping_server(self) -> None:
        await self.empty_unary()  # connecting is not what takes the time
        call = self.method("unary_unary", "Wait", StringValue, StringValue)
        assert await self.code_of(call(StringValue(), timeout=0.5)) == "DEADLINE_EXCEEDED"

    async def status_code_and_message(self) -> None:
        call = self.method("unary_unary", "Fail", StringValue, StringValue)
        answer = call(StringValue(value="FAILED_PRECONDITION"))
        assert await answer.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert await answer.details() == "50% of na\u00efve\nclients"
        trailers = dict(await answer.trailing_metadata())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        detail = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(detail)
        assert detail.reason == "TOY"
        call = self.method("unary_stream", "FailLate", StringValue, StringValue)
        stream = call(StringValue(value="UNKNOWN"))
        assert (await stream.read()).value == "UNKNOWN"
        assert await stream.code() is grpc.StatusCode.UNKNOWN
        assert await stream.details() == "after a message"

    async def special_status_message(self) -> None:
        call = self.method("unary_unary", "Fail", StringValue, StringValue)
        answer = call(StringValue(value=f"UNKNOWN:{SPECIAL}"))
        assert await answer.code() is grpc.StatusCode.UNKNOWN
        assert await answer.details() == SPECIAL

    async def unimplemented_method(self) -> None:
        call = self.method("unary_unary", "Nothing", StringValue, StringValue)
        assert await self.code_of(call(StringValue())) == "UNIMPLEMENTED"

    async def unimplemented_service(self) -> None:
        call = self.channel.unary_unary("/toy.Absent/Echo")
        assert await self.code_of(call(b"")) == "UNIMPLEMENTED"

    async def too_large(self) -> None:
        code = await self.code_of(self.echo(BytesValue(value=b"x" * 5_000_000)))
        assert code == "RESOURCE_EXHAUSTED", code

    async def compressed(self) -> None:
        call = self.echo(BytesValue(value=b"x" * 1000), compression=grpc.Compression.Gzip)
        assert await self.code_of(call) == "UNIMPLEMENTED"

    async def custom_metadata(self) -> None:
        metadata = (
            ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
            ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
        )
        await self.echo(BytesValue(), metadata=metadata)

    async def too_much_metadata(self) -> None:
        """A call beside it knows nothing of it."""
        sibling = self.method("stream_stream", "Both", Int64Value, Int64Value)()
        for number in (1, 2):
            await sibling.write(Int64Value(value=number))
            assert (await sibling.read()).value == number
            answer = self.echo(BytesValue(), metadata=(("x", "y" * 20_000),))
            assert await self.code_of(answer) == "RESOURCE_EXHAUSTED"
        await sibling.done_writing()
        assert await sibling.read() is grpc.aio.EOF

    async def bug(self) -> None:
        call = self.method("unary_unary", "Bug", StringValue, StringValue)
        assert await self.code_of(call(StringValue())) == "INTERNAL"

    async def code_of(self, call: Any) -> str:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "OK"


CASES = [
    *("empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong"),
    *("empty_stream", "cancel_after_begin", "cancel_after_first_response"),
    *("timeout_on_sleeping_server", "status_code_and_message", "special_status_message"),
    *("unimplemented_method", "unimplemented_service", "custom_metadata"),
    "too_much_metadata",
    *("hundreds_at_once", "large_stream", "too_large", "compressed", "bug"),
]


async def main(port: str, directory: Path, cases: list[str]) -> int:
    ca, key, certificate = (
        (directory / name).read_bytes() for name in ("ca.crt", "alice.key", "alice.crt")
    )
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    failed = 0
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        client = Client(channel)
        for case in cases or CASES:
            name, _, number = case.partition("=")
            try:
                if number:  # as long as it takes
                    await getattr(client, name)(int(number))
                else:
                    await asyncio.wait_for(getattr(client, name)(), 15)
            except Exception as error:
                failed += 1
                print(f"{case}: {error!r}", flush=True)
        await client.empty_unary()  # the connection has outlived everything
    if cases:
        return failed
    anonymous = grpc.ssl_channel_credentials(ca)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", anonymous) as channel:
        call = Client(channel).echo(BytesValue(), timeout=5)
        if await Client(channel).code_of(call) != "UNAVAILABLE":
            failed += 1
            print("a client without a certificate was not refused")
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])))
