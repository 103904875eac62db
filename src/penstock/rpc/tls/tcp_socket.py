"""Options of a TCP socket, and what the kernel reports about one."""

import socket
from typing import Final

# The kernel's include/net/tcp_states.h: CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING.
_CLOSED_BY_PEER: Final = frozenset((7, 8, 9, 11))


def peer_has_closed(sock: socket.socket) -> bool:
    """Whether the peer's FIN or a reset has arrived, even if data before it is unread.

    Needed because a read shows the end only after all data (tcp(7), TCP_INFO).
    """
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _CLOSED_BY_PEER
    except OSError:  # no TCP, in a test
        return False


def tune(raw: socket.socket) -> None:
    """Sets what many small messages, and peers whose machine is gone, require."""
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Because a peer whose machine is gone sends no FIN. The kernel detects it in two minutes.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
