"""A line under way: one run of a verb, in front of the prompt or beside it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import trio

from ...client.client import Client
from ...client.first_connection import CONNECT_S, Connect, Endpoint
from ...concurrency.interrupts import uninterrupted_context
from ...proto import command_pb2 as pb
from ...rpc.channel import ClientCall
from ..completing.places import find_place
from ..given_signals import GivenSignals
from ..invocation import Invocation
from ..root import invoke, root
from ..terminal import harmless

# Its first ^C, TERM or HUP would stop the job, and leaving the shell stops none.
_STOPS_ITS_JOB: Final = "run"


class RunningLine:
    """``words`` with the shell's own flags in front are what is run. ``handle``: the job that it
    has started or follows, "" as long as there is none. ``code``: its exit status, at its end."""

    def __init__(
        self,
        number: int,
        typed: str,
        words: Sequence[str],
        flags: Sequence[str],
        invocation: Callable[[Connect, GivenSignals], Invocation],
        connecting: Connect,
    ) -> None:
        """``invocation`` makes what it has of its caller, with a connector and its signals.
        ``number``: of a line that runs beside."""
        self.number = number
        self.typed = typed
        self.handle = ""
        self.code = 0
        self.done = trio.Event()
        self.abandoned = False
        """It was left before its end."""
        self._words = [*flags, *words]
        self._signals = GivenSignals()
        self.invocation = invocation(_Noting(connecting, self._note), self._signals)
        # Scope K0.line.
        self._scope = trio.CancelScope()

    @property
    def verb(self) -> str:
        """Its name as typed, "" if there is none."""
        path = find_place(root, [*self._words, ""]).path
        return path[0] if path else ""

    @property
    def front(self) -> str:
        """What its lines begin with where they stand among others."""
        return f"{harmless(self.handle)}: " if self.handle else f"[{self.number}]: "

    def _note(self, handle: str) -> None:
        self.handle = handle

    async def run(self) -> None:
        """Runs the verb to its end, whatever that is. Raises nothing but Cancelled.

        Cancellation: minimum cleanup; C65.
        """
        try:
            with self._scope:
                self.code = await invoke(self._words, self.invocation)
        finally:
            self.done.set()

    def interrupt(self, number: int) -> None:
        """The user wants its end: as that signal to a verb of its own process."""
        self._signals.give(number)

    def leave(self, number: int) -> None:
        """The shell is left. The verb detaches with its own message; where that would stop the
        job, it is only left."""
        if self.verb == _STOPS_ITS_JOB:
            self.abandon()
        else:
            self.interrupt(number)

    def abandon(self) -> None:
        """Ends the verb without waiting for it; jobs run on."""
        self.abandoned = not self.done.is_set()
        # Cancels K0.line.
        self._scope.cancel()

    @property
    def left_text(self) -> str:
        """What goes on though the verb was abandoned."""
        if self.handle:
            handle = harmless(self.handle)
            return f"Left job {handle}, which runs on; go on with: penstock stream {handle}"
        line = harmless(self.typed).replace("\n", " ")
        return f"Left: {line}; what the server was asked for completes, look with: penstock list"


class _Noting:
    """A connector whose clients note the handle of the job that they start or follow."""

    def __init__(self, connecting: Connect, note: Callable[[str], None]) -> None:
        self._connecting = connecting
        self._note = note

    @uninterrupted_context
    @asynccontextmanager
    async def __call__(
        self, endpoint: Endpoint, *, connect_timeout_s: float = CONNECT_S
    ) -> AsyncIterator[Client]:
        """As the connector's own.

        Cancellation: minimum cleanup; C2.
        """
        async with self._connecting(endpoint, connect_timeout_s=connect_timeout_s) as client:
            yield _NotingClient(client, self._note)


class _NotingClient(Client):
    def __init__(self, client: Client, note: Callable[[str], None]) -> None:
        super().__init__(client._channel, client._timeout_s)
        self._note = note

    async def start(
        self,
        command: str,
        arguments: Sequence[str] = (),
        **more: Any,
    ) -> pb.Job:
        job = await super().start(command, arguments, **more)
        self._note(job.handle)
        return job

    def stream(
        self,
        handle: str,
        **more: Any,
    ) -> AbstractAsyncContextManager[ClientCall[pb.StreamOutputResponse]]:
        self._note(handle)
        return super().stream(handle, **more)
