"""What a job must read: what its owner's clients have sent it, each byte once, in order.

Every call of SendInput sends bytes of its own, so that those of two calls, or of two places, do not
pass for each other.
"""

from dataclasses import dataclass
from typing import Final

import trio

from penstock.jobs.end_record import EndRecord

from .group import Group
from .world import World

# From the answer that it was accepted to a job that waits for it, while nothing happens to the
# server: a few answers of the slowest kernel.
_SOON_S: Final = 5.0
# After these a note may not say what was accepted, and no more of it is given to the job.
_DISK_FAULTS: Final = frozenset(("full", "eio", "short"))
_PRIME: Final = 251


def bytes_of(call: int, count: int) -> bytes:
    """What one call sends."""
    return bytes((at * (2 * call + 3) + call) % _PRIME for at in range(count))


@dataclass(slots=True)
class Piece:
    """One request: bytes from ``begin`` on, and perhaps the end. ``told_at``: when its sender was
    told that all of it is accepted."""

    begin: int
    data: bytes
    last: bool
    told_at: float = float("inf")

    @property
    def end(self) -> int:
        return self.begin + len(self.data)


class Feeding:
    """The input of all jobs of a world, by job id."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pieces: dict[str, list[Piece]] = {}
        self._calls = 0

    def told_to(self, world: World) -> "Feeding":
        """The same, for a judge of its own."""
        other = Feeding(world)
        other._pieces = self._pieces
        return other

    def new_call(self, count: int) -> bytes:
        """What it sends."""
        self._calls += 1
        return bytes_of(self._calls, count)

    def told(self, job_id: str) -> int:
        """So much is accepted, as somebody was told."""
        inf = float("inf")
        return max(
            (each.end for each in self._pieces.get(job_id, ()) if each.told_at < inf), default=0
        )

    def asked(self, job_id: str, least: int, accepted: int) -> None:
        """A call has begun: it goes on at ``accepted``. ``least`` was told before it asked."""
        if accepted < least:
            self._world.fail(
                f"job {job_id[-4:]}: {least} bytes of input were accepted, and now {accepted} are"
            )

    def sending(self, job_id: str, begin: int, data: bytes, *, last: bool) -> Piece:
        """Before it is sent."""
        piece = Piece(begin, data, last)
        self._pieces.setdefault(job_id, []).append(piece)
        return piece

    def accepted(self, job_id: str, piece: Piece, accepted: int, *, ended: bool) -> None:
        """The answer to it."""
        if accepted != piece.end or ended != piece.last:
            self._world.fail(
                f"job {job_id[-4:]}: input to {piece.end} is answered by {accepted}, {ended=}"
            )
        piece.told_at = trio.current_time()

    def is_owed(self, group: Group, until: float) -> bool:
        """It waits for input, and has waited too long for what was accepted."""
        if group.hungry_since is None or self._disk_failed():
            return False
        events = self._world.timeline.lines
        disturbed = [at for at, who, _ in events if who in ("server", "fault") and at <= until]
        since = until - _SOON_S
        if max(disturbed, default=0.0) > since:
            return False
        # The end comes through the supervisor, which has copies of the pipes.
        still = any(begin <= until and end > since for begin, end in self._world.kernel.still)
        return group.hungry_since < since and any(
            each.told_at < since and ((each.last and not still) or each.end > len(group.read))
            for each in self._pieces.get(group.id, ())
        )

    def _disk_failed(self) -> bool:
        return any(fault.what in _DISK_FAULTS for fault in self._world.program.faults)

    def check(self, group: Group, end: EndRecord | None) -> None:
        """At the end. ``end``: its record, if there is one."""
        pieces, read = self._pieces.get(group.id, []), group.read
        fail, name = self._world.fail, f"job {group.id[-4:]}"
        known = bytearray(len(read))
        for piece in pieces:
            got = bytes(read[piece.begin : piece.end])
            if piece.data.startswith(got):
                known[piece.begin : piece.begin + len(got)] = b"\1" * len(got)
            elif piece.told_at < float("inf"):
                fail(f"{name} has read something else than the input {piece.begin} to {piece.end}")
            else:  # a part of it; then somebody else has gone on
                for at, (sent, was) in enumerate(zip(piece.data, got, strict=False), piece.begin):
                    known[at] |= sent == was
        if (unknown := known.find(0)) >= 0:
            fail(f"{name} has read a byte {unknown} of input that nobody has sent there")
        if group.read_end and len(read) not in {each.end for each in pieces if each.last}:
            fail(f"{name} has read the end of its input at {len(read)}, where nobody has sent it")
        if self.is_owed(group, group.main_ended_at):
            fail(f"{name} has waited for input that was accepted, and had {len(read)} bytes")
        if end is not None:
            told = self.told(group.id)
            if end.input_bytes < max(told, len(read)):
                fail(f"{name}: {told} bytes of input were accepted, and {end.input_bytes} count")
            ended = any(each.last and each.told_at < float("inf") for each in pieces)
            if (ended or group.read_end) and not end.input_ended:
                fail(f"{name}: the end of its input was accepted, and is not in its record")
