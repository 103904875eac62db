"""Ports of 127.0.0.1 that stay free until a server takes them."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port that a server with SO_REUSEADDR can listen on, and nobody else is given meanwhile.

    A port that was only looked for can be another process's before the server binds it: another
    test's server's, or the near end of any connection. One that is bound without listening is
    neither chosen by connect() or bind() to port 0, nor in the way of a server whose socket has
    SO_REUSEADDR as this one has (socket(7)).
    """
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield int(holder.getsockname()[1])
