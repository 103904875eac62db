"""Asking an agent about itself: ``penstock agent status`` and ``stop``."""

import json
import os
import socket
import time
from typing import Any

from . import wire
from .agent_address import AgentAddress, peer_pid, peer_uid


def probe(place: AgentAddress, word: str, patience_s: float) -> dict[str, Any] | None:
    """What the agent of this place answers to "status" or "stop"; None if none listens. Blocks.
    Raises OSError, and WireError for what is no agent of ours."""
    until = time.monotonic() + patience_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(patience_s)
        try:
            link.connect(os.fspath(place.socket))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        if peer_uid(link) != os.geteuid():
            raise PermissionError(f"{place.socket} is another user's")
        try:
            found = _answer(link, word, until)
        except TimeoutError:
            pid = peer_pid(link)
            raise TimeoutError(
                f"the agent for {place.name} (pid {pid}) has not answered within "
                f"{patience_s:g} s; verbs do without it; to end it: kill -KILL {pid}"
            ) from None
    if found is not None:
        return found
    raise wire.WireError(f"what listens on {place.socket} does not answer as an agent")


def _answer(link: socket.socket, word: str, until: float) -> dict[str, Any] | None:
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
    return None
