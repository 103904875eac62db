"""Between whom a reload takes place: this process's own side, the server's, and whoever asks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .ipc.message_base import Message
from .ipc.reload_messages import Prepare, Switch


@dataclass(frozen=True, slots=True)
class ReloadAnswer:
    """What became of a reload, for whoever has asked. ``mistakes``: it was refused for these, and
    nothing has changed; ``by_server``: the server has found them; ``passing``: they are not of the
    files, which may be taken at another time. ``generation`` is the one that is in force after it.
    """

    mistakes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    generation: str = ""
    by_server: bool = False
    passing: bool = False


@dataclass(frozen=True, slots=True)
class NotRead:
    """Why the files could not be read now, whatever is in them."""

    why: str


OnAnswer = Callable[[ReloadAnswer], None]


class SwitchRefused(Exception):
    """Something of the switch cannot be done, and nothing of it is left."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class NewFiles(Protocol):
    """Files that were read and are good, until ``close``, or until they are in force."""

    warnings: list[str]

    @property
    def generation(self) -> str:
        """The hash that names them."""
        ...

    def offer(self, number: int, asked_by: str) -> tuple[Prepare, dict[str, bytes]]:
        """The PREPARE for a server, and the bytes of its files by their names."""
        ...

    def close(self) -> None:
        """Closes what was opened for them. Does nothing once they are in force."""
        ...


class OwnSide(Protocol):
    """What this process does for a reload."""

    def read(self, on_read: Callable[[NewFiles | Sequence[str] | NotRead], None]) -> None:
        """Reads every file, and calls back once, within a bound: with the files, or mistakes."""
        ...

    def cancel(self) -> None:
        """Gives up reading, if that is under way."""
        ...

    def switch(self, files: NewFiles, number: int, asked_by: str) -> Switch:
        """Puts them into force, in one step. Raises SwitchRefused if that cannot be."""
        ...

    @property
    def generation(self) -> str:
        """The hash of what is in force."""
        ...


class ServerSide(Protocol):
    """The server, as far as a reload concerns it."""

    @property
    def takes_calls(self) -> bool:
        """Whether one is connected and has said SERVING."""
        ...

    @property
    def fails(self) -> bool:
        """Have the latest servers all ended before one of them took calls?"""
        ...

    def tell(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Sends it, if one is connected."""
        ...

    def kill(self) -> None:
        """Ends a server that stands still; another one follows."""
        ...
