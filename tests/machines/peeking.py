"""Each call that names a job, about one that is another client's."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.message import Message

from penstock.proto import command_pb2 as pb
from penstock.rpc.channel import Channel

SERVICE: Final = "teleport.CommandService"
_UNARY: Final[tuple[tuple[str, Callable[..., Message], type[Message]], ...]] = (
    ("Status", pb.StatusRequest, pb.StatusResponse),
    ("Stop", pb.StopRequest, pb.StopResponse),
    ("Signal", lambda pid: pb.SignalRequest(pid=pid, signal="HUP"), pb.SignalResponse),
    ("Wait", pb.WaitRequest, pb.WaitResponse),
    ("Pause", pb.PauseRequest, pb.PauseResponse),
    ("Resume", pb.ResumeRequest, pb.ResumeResponse),
    ("Remove", pb.RemoveRequest, pb.RemoveResponse),
)
KINDS: Final = len(_UNARY) + 2  # and both with streams


async def peek(
    number: int, channel: Channel, unary: Callable[..., Awaitable[Any]], handle: str
) -> str:
    """The ``number``-th kind of them. Raises what the call does; the call's name if it is
    answered, or ends without an error."""
    number %= KINDS
    if number < len(_UNARY):
        name, made, response = _UNARY[number]
        await unary(name, made(pid=handle), response)
        return name
    if number == len(_UNARY):
        request = pb.StreamOutputRequest(pid=handle)
        streamed = channel.server_stream(SERVICE, "StreamOutput", request, pb.StreamOutputResponse)
        async with streamed as messages:
            await anext(messages, None)
        return "StreamOutput"
    async with channel.open_call(SERVICE, "SendInput", pb.SendInputResponse) as call:
        await call.send(pb.SendInputRequest(pid=handle))
        await anext(call, None)
    return "SendInput"
