"""A program on a pseudo-terminal of its own, whose questions a test answers as a person would."""

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from patience import patient


@dataclass(frozen=True)
class Answered:
    """How it ended, and all that its terminal showed."""

    status: int
    shown: str


def answered(
    words: Sequence[str],
    answers: Sequence[tuple[str, str]],
    *,
    directory: Path,
    environment: Mapping[str, str],
    within_s: float = 60.0,
) -> Answered:
    """Runs the words; waits for each question in its turn, and types what belongs to it. Raises
    AssertionError with what was shown, if a question does not come."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *words],
        cwd=directory,
        env=dict(environment),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    seen = 0
    give_up_at = time.monotonic() + patient(within_s)

    def read() -> bool:
        """False once every process has closed the terminal."""
        nonlocal shown
        left_s = give_up_at - time.monotonic()
        ready, _, _ = select.select([ours], [], [], max(left_s, 0))
        assert ready, f"{words}: nothing more comes after {shown.decode(errors='replace')!r}"
        try:
            more = os.read(ours, 4096)
        except OSError:  # EIO: all others have closed it
            return False
        shown += more
        return bool(more)

    try:
        for question, answer in answers:
            while (at := shown.find(question.encode(), seen)) < 0:
                assert read(), f"{words}: {question!r} was not asked: {shown.decode()!r}"
            seen = at + len(question)
            os.write(ours, f"{answer}\n".encode())
        while read():
            pass
        status = process.wait(patient(within_s))
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return Answered(status, shown.decode(errors="replace").replace("\r\n", "\n"))
