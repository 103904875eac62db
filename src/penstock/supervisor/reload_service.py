"""What a penstockd with a server has for reloads, put together: both sides, and whoever asks.

Asked is by SIGHUP, on control.sock, and by files that have changed.
"""

import os

from .control_requests import ControlRequests
from .control_socket import ControlSocket
from .file_looks import FileLooks, look_in_a_child
from .files_in_force import FilesInForce
from .ipc.message_base import Message
from .ipc.reload_messages import Prepared, Switched
from .ipc.run_directory import RunDirectory
from .ipc.server_listener import ServerListener
from .kernel.loop import Loop
from .reload_exchange import ReloadExchange
from .server_link import ServerLink
from .server_process import ServerProcess


class ReloadService:
    """From the start of the first server on, until ``stop``, and ``close``."""

    def __init__(
        self,
        loop: Loop,
        files: FilesInForce,
        reception: ServerListener,
        server: ServerProcess,
        directory: RunDirectory,
    ) -> None:
        """Listens on control.sock from now on. Raises OSError."""
        self._files = files
        self._server = server
        self._link = ServerLink(reception, server)
        self._exchange = ReloadExchange(loop, files, self._link)
        requests = ControlRequests(self._exchange, self._status)
        self._control = ControlSocket(loop, directory, requests.handle)
        FileLooks(loop, files.named, look_in_a_child(loop), self._exchange.ask)

    def hang_up(self) -> None:
        """SIGHUP has come."""
        self._exchange.ask("SIGHUP", lambda answer: None)  # the log has what came of it

    def take(self, message: Message) -> bool:
        """Takes a message of the server, if it belongs to a reload; otherwise False. Raises
        ProtocolError."""
        if isinstance(message, Prepared):
            self._exchange.prepared(message)
        elif isinstance(message, Switched):
            self._exchange.switched(message)
            self._files.is_taken_up()
        else:
            return False
        return True

    def serving(self) -> None:
        """A server takes calls, and so has written down what WELCOME has told it."""
        self._files.is_taken_up()
        self._link.is_serving(True)
        self._exchange.serving()

    def gone(self) -> None:
        """The server is gone."""
        self._link.is_serving(False)
        self._exchange.gone()

    def listen_again(self) -> None:
        """Makes the socket anew if it was removed."""
        self._control.listen_again()

    def stop(self) -> None:
        """penstockd ends: no reload begins any more."""
        self._exchange.stop()

    def close(self) -> None:
        """Ends every connection, and removes the socket."""
        self._control.close()

    def _status(self) -> tuple[dict[str, object], dict[str, bytes]]:
        about, files = self._files.status()
        process = {
            "pid": os.getpid(),
            "server_pid": self._server.pid,
            "serving": self._link.takes_calls,
        }
        return {**process, **about}, files
