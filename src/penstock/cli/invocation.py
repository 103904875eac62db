"""What one run of a command line has of its caller: where its text goes, what it reads, the
environment, the directory, signals, connections.

A plain ``penstock`` has those of its process (``OWN``). A process that runs several command lines
at once, each for another caller, is their *host*: it makes an ``Invocation`` for each and enters
it, and whatever a verb calls finds its own by ``current``, in tasks and in Trio's threads too. So a
verb reaches for nothing of the process by itself.

Imports only the standard library's smallest modules, because it is loaded before everything else.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol, TextIO, TypeAlias

from .descriptors import ERR, OUT, OutputFailed, Place, StandardDescriptor

if TYPE_CHECKING:
    from pathlib import Path

    from ..client.first_connection import Connect
    from .given_signals import GivenSignals
    from .typed_path import HeldDirectory

_WIDEST_HELP: Final = 80
_NARROWEST_HELP: Final = 50


class ErrorForm:
    """What a command line asks for of its errors."""

    def __init__(self) -> None:
        self.json = False
        self.context: str | None = None
        """The one that --context names, so that the command lines in our texts go there, too."""


class Output(Protocol):
    """Where text goes, and what is known of the other end: what a ``Descriptor`` has."""

    fd: int
    """Its descriptor, or that of the terminal which shows it."""
    name: str
    failure: OutputFailed | None
    place: Place

    @property
    def terminal(self) -> bool:
        """Whether a terminal is at the other end."""

    @property
    def columns(self) -> int:
        """The terminal's width now; 80 without one."""

    @property
    def lines(self) -> int:
        """The terminal's height now; 24 without one."""

    @property
    def text(self) -> TextIO:
        """Takes text, in the encoding that it names; its writes never fail."""

    def send(self, data: bytes) -> None:
        """Writes all of ``data``, or keeps it to be written. Raises OutputFailed, and each later
        call raises it again."""


class HostedOutput(Output, Protocol):
    """What a host gives. ``send`` never waits, because all that the host runs would wait with it;
    it may be called from Trio's threads. What was sent is written in order."""

    async def write(self, data: bytes) -> None:
        """Returns once all of ``data`` is written. Raises OutputFailed.

        Cancelled: an unknown part is written.

        Cancellation: minimum cleanup.
        """

    async def flush(self) -> None:
        """Returns once all that was sent is written, or a write has failed. Never fails.

        No checkpoint where nothing waits.

        Cancellation: minimum cleanup.
        """


class HostedInput(Protocol):
    """Standard input, as a host gives it."""

    async def check(self) -> None:
        """Raises OSError if it cannot be read. May wait, as a program that reads its terminal from
        the background is stopped.

        Cancellation: atomic.
        """

    async def receive(self, count: int) -> bytes:
        """The next bytes, at most ``count``; b"" at the end. Raises OSError.

        Cancellation: minimum cleanup.
        """


Target: TypeAlias = StandardDescriptor | HostedOutput


class Invocation:
    """One run of a command line. Only a host makes one."""

    def __init__(
        self,
        *,
        out: Target,
        err: Target,
        environment: Mapping[str, str],
        signals: "GivenSignals | None",
        stdin: HostedInput | None = None,
        directory: "HeldDirectory | None" = None,
        connector: "Connect | None" = None,
        ask: Callable[[str], str] | None = None,
        known_passphrase: "Callable[[Path], bytes | None] | None" = None,
        terminal: bool = False,
    ) -> None:
        """``signals`` of a host, where those that would end the command line come from.
        ``stdin`` None: the process's, or without one nothing. ``directory``: where relative paths
        begin; None: the process's. ``connector``: opens a connection, or gives one that is shared;
        None: ``penstock.client.connect``. ``ask`` shows a question at the caller's terminal and
        returns the line that is typed unseen, or raises EOFError; it is called in a thread; None:
        there is no terminal to ask at. ``known_passphrase``: that of a key, where it was typed
        before. ``terminal``: the process's own standard descriptors are a
        terminal that this command line may take as a whole.
        """
        self.out = out
        self.err = err
        self.environment = environment
        self.signals = signals
        self.stdin = stdin
        self.directory = directory
        self.connector = connector
        self.ask = ask
        self.known_passphrase = known_passphrase
        self.terminal = terminal
        self.form = ErrorForm()

    @property
    def hosted(self) -> bool:
        """Whether others run in this process, too, so that nothing of it may be taken or held."""
        return self.signals is not None

    @property
    def help_width(self) -> int | None:
        """How wide a page of help may be, as asyncclick has it of its own terminal; None: that."""
        if not self.hosted:
            return None
        try:
            columns = int(self.environment["COLUMNS"])
        except (KeyError, ValueError):
            columns = 0
        if columns <= 0:
            columns = self.out.columns
        return max(min(columns, _WIDEST_HELP) - 2, _NARROWEST_HELP)

    def signal(self, number: int) -> None:
        """Gives it a signal that ends programs. The verb under way reacts to it as it would to one
        of the process; where none does, the command line ends, with the signal's exit status."""
        assert self.signals is not None, "the process's own signals come by themselves"
        self.signals.give(number)


OWN: Final = Invocation(out=OUT, err=ERR, environment=os.environ, signals=None, terminal=True)
"""That of a process which runs one command line, its own."""

_CURRENT: Final = ContextVar("invocation", default=OWN)


def current() -> Invocation:
    """The one whose verb is calling."""
    return _CURRENT.get()


@contextmanager
def entered(invocation: Invocation) -> Iterator[None]:
    """Inside, it is the current one, of tasks and threads that are begun there, too."""
    token = _CURRENT.set(invocation)
    try:
        yield
    finally:
        _CURRENT.reset(token)
