"""Input of real jobs: they write what they have read to their output, between marks."""

import re
from dataclasses import dataclass
from typing import Final

from penstock.client import Client
from penstock.proto import command_pb2 as pb

from .feeding import Feeding

# Neither input (feeding.bytes_of) nor what jobs write by themselves has such a byte.
_BEGUN: Final = b"\xfd"
_AT_ITS_END: Final = b"\xfe"
_MARKS: Final = re.compile(rb"([\xfd-\xff])")
READ: Final = r"""{ printf '\375'; cat && printf '\376' || printf '\377'; } 2>/dev/null"""
"""For the shell: to the end of the input, or until it cannot be read."""


@dataclass
class Fed:
    """A job by its handle, as ``Feeding`` takes it: what it has read, and whether that was all."""

    id: str
    read: bytes
    read_end: bool
    hungry_since: None = None
    main_ended_at: float = 0.0


def told_apart(handle: str, output: bytes) -> tuple[bytes, Fed]:
    """What a job has written of its own on its standard output, and what it has read."""
    own, read = bytearray(), bytearray()
    reading = ended = False
    for piece in _MARKS.split(output):
        if _MARKS.fullmatch(piece):
            reading = piece == _BEGUN
            ended |= piece == _AT_ITS_END
        elif reading:
            read += piece
        else:
            own += piece
    return bytes(own), Fed(handle, bytes(read), ended)


async def feed(client: Client, feeding: Feeding, handle: str, count: int) -> None:
    """Sends as many bytes of a new call's, from where the job's input is, and its end."""
    data = feeding.new_call(count)
    async with client.send_input() as call:
        least = feeding.told(handle)
        await call.send(pb.SendInputRequest(pid=handle))
        accepted = (await anext(call)).accepted
        feeding.asked(handle, least, accepted)
        while accepted < len(data):
            last = accepted + 3000 >= len(data)
            piece = feeding.sending(handle, accepted, data[accepted:][:3000], last=last)
            await call.send(pb.SendInputRequest(offset=accepted, data=piece.data, eof=last))
            answer = await anext(call)
            feeding.accepted(handle, piece, answer.accepted, ended=answer.eof)
            accepted = answer.accepted
        call.end()
