"""Each call that names a job, about one that is another client's."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.message import Message

from penstock.proto import command_pb2 as pb
from penstock.rpc.client import Channel

_SERVICE: Final = "teleport.CommandService"
_UNARY: Final[tuple[tuple[str, Callable[..., Message], type[Message]], ...]] = (
    ("Status", pb.StatusRequest, pb.StatusResponse),
    ("Stop", pb.StopRequest, pb.StopResponse),
    ("Signal", lambda pid: pb.SignalRequest(pid=pid, signal="HUP"), pb.SignalResponse),
    ("Wait", pb.WaitRequest, pb.WaitResponse),
    ("Pause", pb.PauseRequest, pb.PauseResponse),
    ("Resume", pb.ResumeRequest, pb.ResumeResponse),
    ("Remove", pb.RemoveRequest, pb.RemoveResponse),
)
_STREAMS: Final[tuple[tuple[str, Callable[..., Message], type[Message]], ...]] = (
    ("StreamOutput", pb.StreamOutputRequest, pb.StreamOutputResponse),
    ("SendInput", pb.SendInputRequest, pb.SendInputResponse),
)


async def peek(
    number: int, channel: Channel, unary: Callable[..., Awaitable[Any]], handle: str
) -> str:
    """The ``number``-th kind of them. Raises what the call does; the call's name if it is
    answered, or ends without an error."""
    number %= len(_UNARY) + len(_STREAMS)
    if number < len(_UNARY):
        name, request, response = _UNARY[number]
        await unary(name, request(pid=handle), response)
        return name
    name, request, response = _STREAMS[number - len(_UNARY)]
    async with channel.open_call(_SERVICE, name, response) as call:
        await call.send(request(pid=handle))
        await anext(call, None)
    return name
