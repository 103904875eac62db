"""SIGHUP to a real penstockd."""

import signal
from typing import Any

import trio
from patience import patient
from running import RunningServer


async def reload(server: RunningServer, loaded: bool) -> str:
    """SIGHUP, and the message of the audit line that says what came of it."""
    return str((await reloaded(server, loaded)).get("message", ""))


async def reloaded(server: RunningServer, loaded: bool) -> dict[str, Any]:
    """The same, and the whole line."""

    def lines() -> list[dict[str, Any]]:
        return [
            line
            for line in server.audit()
            if line["event"] == "tls.reload" and line["loaded"] is loaded
        ]

    before = len(lines())
    server.process.send_signal(signal.SIGHUP)
    with trio.fail_after(patient(10)):
        while len(lines()) == before:  # noqa: ASYNC110 - a file: nothing tells of a new line
            await trio.sleep(0.02)
    return lines()[-1]
