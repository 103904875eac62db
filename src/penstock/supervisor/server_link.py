"""The server as a reload knows it: whether it takes calls, what to tell it, how to end it."""

import signal
from collections.abc import Sequence

from .ipc.message_base import Message
from .ipc.server_listener import ServerListener
from .server_process import ServerProcess


class ServerLink:
    """One for all servers, one after another."""

    def __init__(self, reception: ServerListener, server: ServerProcess) -> None:
        self._reception = reception
        self._server = server
        self._serving = False

    @property
    def takes_calls(self) -> bool:
        """Whether one is connected and has said SERVING."""
        return self._serving and self._reception.greeted

    def is_serving(self, serving: bool) -> None:
        """A server has said SERVING, or (False) another one begins, or it is gone."""
        self._serving = serving
        if serving:
            self._server.serving()

    @property
    def fails(self) -> bool:
        """Have the latest servers all ended before one of them took calls?"""
        return self._server.fails

    def tell(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Sends it, if a server is connected. The descriptors stay the caller's."""
        self._reception.tell(message, descriptors)

    def kill(self) -> None:
        """Ends it at once; another one follows, and takes the jobs over."""
        self._server.signal(signal.SIGKILL)
