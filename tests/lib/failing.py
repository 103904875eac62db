"""System calls of a running process that fail as a test says: strace(1) attached to it."""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest


@contextlib.contextmanager
def failing(pid: int, paths: Sequence[Path], *injections: str) -> Iterator[None]:
    """Calls of the main thread of ``pid`` on these files, as in ``splice:error=EIO:when=1..3``.

    ``retval=7`` instead of an error claims that so much was done. A file must be there already.
    """
    said: list[str] = []
    named = [f"--trace-path={path.resolve()}" for path in paths]
    with injecting(pid, *injections, options=named, said=said):
        yield
    assert "INJECTED" in said[0], f"nothing was injected:\n{said[0]}"


@contextlib.contextmanager
def injecting(
    pid: int, *injections: str, options: Sequence[str] = (), said: list[str] | None = None
) -> Iterator[None]:
    """Whatever strace's --inject can do to calls of the main thread of ``pid``.

    What strace has written is put into ``said``. Needs root: the server is no child of ours.
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("NOT RUN: strace is not installed; .ci/run installs it")
    calls = ",".join(injection.split(":")[0] for injection in injections)
    process = subprocess.Popen(
        [strace, "-p", str(pid), "-e", f"trace={calls}", *options]
        + [f"--inject={injection}" for injection in injections],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            if "attached" in line:
                break
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)  # it detaches, if there is anybody still
            text = process.stderr.read()
            process.wait()
            if said is not None:
                said.append(text)
