"""Programs of other people, bounded in time."""

import os
from collections.abc import Sequence

import trio
from patience import patient

_HARD_TIMEOUT_S = patient(20)


async def run_foreign(
    command: Sequence[str], timeout_s: float = _HARD_TIMEOUT_S, /, **environment: str
) -> bytes:
    """Its standard output. Fails, with all that it printed, unless its exit status is 0."""
    with trio.move_on_after(timeout_s):
        done = await trio.run_process(
            command,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, **environment},
        )
        printed = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, f"exit status {done.returncode}:\n{printed}"
        return bytes(done.stdout)
    raise AssertionError(f"{command[0]} did not end in {timeout_s:g} s")
