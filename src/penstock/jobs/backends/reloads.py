"""This process's side of a reload: what the supervisor offers, and which generation is in force.

The supervisor's messages come in order, and a SWITCH is carried out as it comes. So an answer that
the supervisor has sent after it, REFUSED for a stale policy for example, finds the new generation
in force here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import trio

from ...concurrency.interrupts import uninterrupted_methods
from ...supervisor.ipc.protocol import ProtocolError
from ...supervisor.ipc.reload_messages import (
    Abandon,
    Prepare,
    Prepared,
    Switch,
    Switched,
    few_texts,
)
from ...supervisor.ipc.welcome_message import Welcome
from .reported_job import close_all, read_whole
from .supervisor_connection import SupervisorConnection

_TAKES_NONE: Final = "the program that uses this supervisor takes up no other files; restart it"
_NO_DESCRIPTORS: Final = "the server has no free file descriptors for the new files; try again"


@dataclass(frozen=True, slots=True)
class OfferedGeneration:
    """What PREPARE brought: the very bytes that the supervisor has checked."""

    about: Prepare
    policy: bytes
    configuration: bytes


def _takes_nothing(abandon: Abandon) -> None:
    """An ``on_abandon`` of a program that writes nothing down."""


@uninterrupted_methods
class Reloads:
    """The reloads of one connection; ``welcome`` is kept up to date with what is in force.

    The three callbacks are the server's, which sets them before it says SERVING, because the
    supervisor sends no PREPARE before. None of them may block.
    """

    def __init__(self, connection: SupervisorConnection) -> None:
        self._connection = connection
        self._offered: OfferedGeneration | None = None
        self._switched = trio.lowlevel.ParkingLot()
        self.welcome: Welcome
        self.on_prepare: Callable[[OfferedGeneration], None] = self._refuse
        """Looks at what is offered, holds what it made of it aside, and has ``prepared`` called
        within 10 s."""
        self.on_switch: Callable[[OfferedGeneration, Switch], Sequence[str]] = lambda _, __: ()
        """Takes up what it has prepared, in no checkpoint, so that no decision is made by the old
        generation any more. Returns what became of clients and connections."""
        self.on_abandon: Callable[[Abandon], None] = _takes_nothing
        """Forgets what it has prepared under this number, if it has, and records the mistakes."""

    @property
    def generation(self) -> str:
        """The hash that a START carries, as the supervisor has named it."""
        return self.welcome.generation or self.welcome.policy

    async def wait_generation_after(self, generation: str) -> None:
        """Returns once another one than this is in force.

        Cancellation: atomic; C73.
        """
        await trio.lowlevel.checkpoint()
        while self.generation == generation:
            await self._switched.park()

    def prepared(
        self, number: int, mistakes: Sequence[str] = (), warnings: Sequence[str] = ()
    ) -> None:
        """Answers a PREPARE: without mistakes this process is ready. No checkpoint. Does nothing
        if the supervisor has abandoned that reload, or offered another since."""
        if self._offered is not None and self._offered.about.number == number:
            self._connection.send(Prepared(number, few_texts(mistakes), few_texts(warnings)))

    def deliver(self, message: Prepare | Switch | Abandon, fds: list[int]) -> None:
        """A message has come; ``fds`` are closed here. Raises ProtocolError for a SWITCH to what
        was not offered."""
        match message:
            case Prepare():
                self._prepare(message, fds)
            case Switch():
                self._switch(message)
            case Abandon():
                self._offered = None
                self.on_abandon(message)

    def _prepare(self, message: Prepare, fds: list[int]) -> None:
        if len(fds) != len(message.fds):  # unix(7): cut off, because there is no room for them
            close_all(fds)
            self._connection.send(Prepared(message.number, (_NO_DESCRIPTORS,)))
            return
        data = {name: read_whole(fd) for name, fd in zip(message.fds, fds, strict=True)}
        self._offered = OfferedGeneration(message, data["policy"], data["configuration"])
        self.on_prepare(self._offered)

    def _switch(self, message: Switch) -> None:
        offered, self._offered = self._offered, None
        if offered is None or offered.about.number != message.number:
            raise ProtocolError(f"SWITCH to {message.number}, which was not offered")
        about = offered.about
        self.welcome = replace(
            self.welcome,
            policy=about.policy,
            generation=about.generation,
            settings=about.settings,
            max_jobs=message.max_jobs,
            warnings=message.warnings,
            userless=message.userless,
        )
        changes = self.on_switch(offered, message)
        self._switched.unpark_all()
        self._connection.send(Switched(message.number, few_texts(changes)))

    def _refuse(self, offered: OfferedGeneration) -> None:
        self.prepared(offered.about.number, [_TAKES_NONE])
