"""Asking an agent about itself: ``penstock agent status`` and ``stop``."""

import json
import os
import socket
import time
from typing import Any, Final

from . import wire
from .agent_address import AgentAddress, peer_uid

_PATIENCE_S: Final = 3.0


def probe(place: AgentAddress, word: str) -> dict[str, Any] | None:
    """What the agent of this place answers to "status" or "stop"; None if none listens. Blocks.
    Raises OSError, and WireError for what is no agent of ours."""
    until = time.monotonic() + _PATIENCE_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(_PATIENCE_S)
        try:
            link.connect(os.fspath(place.socket))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        if peer_uid(link) != os.geteuid():
            raise PermissionError(f"{place.socket} is another user's")
        link.sendall(wire.message(wire.CONTROL, word.encode()))
        reader = wire.WireReader()
        # All in all, because what is no agent may say something without end.
        while (left_s := until - time.monotonic()) > 0:
            link.settimeout(left_s)
            if not (data := link.recv(65536)):
                break
            for kind, body in reader.feed(data):
                if kind == wire.REPORT:
                    found: dict[str, Any] = json.loads(body)
                    return found
    raise wire.WireError(f"what listens on {place.socket} does not answer as an agent")
