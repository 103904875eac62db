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

    Needs root: the server is no child of ours. ``retval=7`` instead of an error claims that
    so much was done. A file must be there already.
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("NOT RUN: strace is not installed; .ci/run installs it")
    calls = ",".join(injection.split(":")[0] for injection in injections)
    process = subprocess.Popen(
        [strace, "-p", str(pid), "-e", f"trace={calls}"]
        + [f"--trace-path={path.resolve()}" for path in paths]
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
            process.send_signal(signal.SIGINT)  # it detaches
            said = process.stderr.read()
            process.wait()
    assert "INJECTED" in said, f"nothing was injected:\n{said}"
