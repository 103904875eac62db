"""What can be asked on control.sock: one table, and nothing else."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final

from .control_socket import Respond, refusal
from .ipc.sealed_files import sealed
from .reload_exchange import ReloadExchange
from .reload_sides import ReloadAnswer

Status = Callable[[], tuple[Mapping[str, object], Mapping[str, bytes]]]
"""What is in force: an answer, and the bytes of files by their names."""


class ControlRequests:
    """Answers requests. Whoever asks has penstockd's own rights (control_socket.py)."""

    def __init__(self, reloads: ReloadExchange, status: Status) -> None:
        self._reloads = reloads
        self._status = status
        self._table: Final = {"status": self._say_status, "reload": self._reload}

    def handle(self, request: Mapping[str, Any], who: str, respond: Respond) -> None:
        """Answers one, now or later."""
        found = self._table.get(request["request"])
        if found is None:
            known = ", ".join(self._table)
            respond(refusal(f"{request['request']!r:.64} cannot be asked; ask one of {known}"), ())
        elif request.keys() != {"request"}:
            respond(refusal("a request has no other fields; leave them out"), ())
        else:
            found(who, respond)

    def _say_status(self, _: str, respond: Respond) -> None:
        about, files = self._status()
        with ExitStack() as closing:
            fds = []
            try:
                for name, data in files.items():
                    fds.append(sealed(name, data))
                    closing.callback(os.close, fds[-1])
            except OSError as error:
                respond(refusal(f"penstockd cannot hand its files over: {error.strerror}"), ())
                return
            respond({"ok": True, **about, "fds": list(files)}, fds)

    def _reload(self, who: str, respond: Respond) -> None:
        def answer(found: ReloadAnswer) -> None:
            respond(
                {
                    "ok": not found.mistakes,
                    "generation": found.generation,
                    "mistakes": list(found.mistakes),
                    "changes": list(found.changes),
                    "warnings": list(found.warnings),
                },
                (),
            )

        self._reloads.ask(f"penstockd reload, {who}", answer)
