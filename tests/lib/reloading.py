"""SIGHUP to a real penstockd."""

import signal
from typing import Any

import trio
from patience import patient
from running import RunningServer


async def reload(server: RunningServer, loaded: bool) -> str:
    """SIGHUP, and the mistakes of the audit line that says what came of it, one a line."""
    return "\n".join((await reloaded(server, loaded)).get("mistakes", ()))


async def reloaded(server: RunningServer, loaded: bool) -> dict[str, Any]:
    """The same, and the whole line."""

    def lines() -> list[dict[str, Any]]:
        event = "reload" if loaded else "reload.refused"
        return [line for line in server.audit() if line["event"] == event]

    before = len(lines())
    server.process.send_signal(signal.SIGHUP)
    with trio.fail_after(patient(10)):
        while len(lines()) == before:  # noqa: ASYNC110 - a file: nothing tells of a new line
            await trio.sleep(0.02)
    return lines()[-1]
