"""One front end: what it asks for is run as the full program would run it, in an ``Invocation``."""

import contextlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from ..cli.arguments import OUR_FAILURE
from ..cli.descriptors import ERR, OUT
from ..cli.given_signals import GivenSignals
from ..cli.handed_input import HandedInput
from ..cli.handed_output import HandedOutput, handed_outputs
from ..cli.invocation import Invocation
from ..cli.invoking import finish, hosted_line
from ..cli.typed_path import HeldDirectory
from ..client.client import Client
from ..client.first_connection import CONNECT_S, Connect, Endpoint
from ..concurrency.interrupts import uninterrupted_context
from . import wire
from .front_end_input import FrontEndInput
from .front_end_link import FrontEndGone, FrontEndLink
from .passphrase_memory import PassphraseMemory

if TYPE_CHECKING:
    from ..cli.root import CalledLine

MOST_EARLY: Final = 256
"""Messages of a front end before it says that its command line is to begin. More are no front end
of ours: it sends signals and ^Z, each of which was a key or a process's doing."""
MOST_EARLY_BYTES: Final = 64
"""Of one of these."""
_HELD_S: Final = 0.5
"""How long a write that is under way may delay ^Z: a terminal that was stopped takes nothing."""
_ENDED: Final = (
    "the agent has ended in the middle, or answers no more; what it was asked for may be done; "
    "see what there is with: penstock list"
)


class Asked:
    """What a front end asks for, as far as that is known without its descriptors, which come once
    it is accepted: an agent that stood still before would keep its pipes open."""

    def __init__(self, request: wire.Request) -> None:
        self.ignored = frozenset(request.ignored)
        self.environment = {
            os.fsdecode(key): os.fsdecode(text) for key, text in (request.environment or {}).items()
        }
        reading = Invocation(out=OUT, err=ERR, environment=self.environment, signals=GivenSignals())
        self.line = hosted_line([os.fsdecode(word) for word in request.words], reading)
        """None: it needs a process of its own."""
        self.form = reading.form

    async def accept(self, line: "CalledLine", link: FrontEndLink) -> list[tuple[int, bytes]]:
        """Returns when the front end says that it is to begin, with the messages that came before.
        Raises FrontEndGone.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        status, text = _if_we_end(line)
        link.send(wire.ACCEPTED, bytes((status,)) + text)
        early: list[tuple[int, bytes]] = []
        while (came := await link.receive())[0] != wire.GO:
            early.append(came)
            if len(early) > MOST_EARLY or len(came[1]) > MOST_EARLY_BYTES:
                raise FrontEndGone("too much before GO")
        return early


class Attended:
    """The command line of one front end, from the moment at which it is to begin."""

    def __init__(
        self,
        link: FrontEndLink,
        asked: Asked,
        *,
        connect: Connect,
        passphrases: PassphraseMemory,
    ) -> None:
        """Takes the descriptors that came. Raises FrontEndGone."""
        self._link = link
        self._connect = connect
        self._passphrases = passphrases
        self._answered = trio.Event()
        self._answer: bytes | None = None
        self._typed = b""
        self._signals = GivenSignals(asked.ignored)
        stdin, out, err, directory = link.take_descriptors()
        self._directory = HeldDirectory(directory)
        self._outputs = handed_outputs(out, err)
        self._terminal_input = FrontEndInput(stdin, link.send) if os.isatty(stdin) else None
        self._input = self._terminal_input or HandedInput(stdin)
        self._invocation = Invocation(
            out=self._outputs[0],
            err=self._outputs[1],
            environment=asked.environment,
            signals=self._signals,
            stdin=self._input,
            directory=self._directory,
            connector=self._connected,
            ask=self._ask if self._terminal_input is not None else None,
            known_passphrase=passphrases.of,
        )
        self._invocation.form = asked.form

    async def run(self, line: "CalledLine", early: Sequence[tuple[int, bytes]]) -> None:
        """Runs it to the end. A front end that leaves is a client that has left: what runs is
        cancelled.

        Cancellation: minimum cleanup; C67, C70, C71.
        """
        # Scope K4.front.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope, early)
            code = await finish(line, self._invocation)
            with contextlib.suppress(FrontEndGone):
                self._link.send(wire.EXIT, bytes((code & 0xFF,)))
            # Cancels K4.front.
            nursery.cancel_scope.cancel()

    def close(self) -> list[HandedOutput]:
        """Closes what was handed over. Returns the outputs of which a write goes on."""
        self._input.close()
        self._directory.close()
        for output in self._outputs:
            output.close()
        return [output for output in self._outputs if output.writing]

    async def _listen(self, scope: trio.CancelScope, early: Sequence[tuple[int, bytes]]) -> None:
        try:
            for kind, body in early:
                await self._take(kind, body)
            while True:
                await self._take(*await self._link.receive())
        except FrontEndGone:
            # Cancels K4.front.
            scope.cancel()

    async def _take(self, kind: int, body: bytes) -> None:
        match kind:
            case wire.SIGNAL if body:
                self._signals.give(body[0])
                self._link.send(wire.TAKEN)
            case wire.DATA if self._terminal_input is not None:
                self._terminal_input.take(body)
            case wire.ANSWER:
                self._answer = body
                self._answered.set()
            case wire.HOLD:
                for output in self._outputs:
                    output.hold()
                # Scope K4.held.
                with trio.move_on_after(_HELD_S):
                    for output in self._outputs:
                        await output.wait_held()
                self._link.send(wire.HELD)
            case wire.RESUME:
                for output in self._outputs:
                    output.resume()
            case _:
                raise FrontEndGone(f"a message of kind {kind}")

    def _ask(self, question: str) -> str:
        """In a thread. Raises EOFError."""
        answer = trio.from_thread.run(self._ask_front_end, question)
        if answer[:1] != b"\1":
            raise EOFError
        self._typed = answer[1:]
        return os.fsdecode(answer[1:])

    async def _ask_front_end(self, question: str) -> bytes:
        self._answered = trio.Event()
        with contextlib.suppress(FrontEndGone):  # as its end is heard of, this is cancelled
            self._link.send(wire.ASK, os.fsencode(question))
        await self._answered.wait()
        return self._answer or b""

    @uninterrupted_context
    @asynccontextmanager
    async def _connected(
        self, endpoint: Endpoint, *, connect_timeout_s: float = CONNECT_S
    ) -> AsyncIterator[Client]:
        async with self._connect(endpoint, connect_timeout_s=connect_timeout_s) as client:
            if self._typed and endpoint.passphrase == self._typed:
                self._passphrases.keep(endpoint.key, self._typed)
            yield client


def _if_we_end(line: "CalledLine") -> tuple[int, bytes]:
    """What the front end ends with and shows if this process ends before the verb has."""
    status = OUR_FAILURE if line.passes_through else 1
    if not line.settings.json:
        return status, f"Error: {_ENDED}\n".encode()
    error = {"code": "UNKNOWN", "reason": "AGENT_ENDED", "message": _ENDED, "exit_status": status}
    return status, json.dumps({"error": error}).encode() + b"\n"
