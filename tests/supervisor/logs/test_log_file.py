"""The log in a file, written by a process of its own: bounded, in order, to the last line."""

import subprocess
import sys
from pathlib import Path

import pytest

# Standard error is the file. What each part of it does is said there.
_BEGIN = """
import os, select, signal, stat, sys, time
from penstock.supervisor.logs.supervisor_log import LINES, log
from penstock.supervisor.logs.log_file import LogFile
from penstock.supervisor.kernel.loop import Loop
loop = Loop()
file = LogFile(loop)
file.start()
assert stat.S_ISFIFO(os.fstat(2).st_mode)
child = file._writer._pid

def wait_state(pid, letters):
    while open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] not in letters:
        time.sleep(0.005)

log("first")
"""
_END = """
file.end()
assert stat.S_ISREG(os.fstat(2).st_mode)
log("last")
"""
# It stands still, as one does that waits for a disk.
_STUCK = """
os.kill(child, signal.SIGSTOP)
wait_state(child, "T")
for number in range(5000):
    log(f"{number:04} " + "x" * 95)
assert LINES.lost > 0
os.kill(child, signal.SIGCONT)
while not LINES.tell_lost():
    time.sleep(0.005)
"""
_KILLED = """
os.kill(child, signal.SIGSTOP)
wait_state(child, "T")
log("while it stands still")
os.kill(child, signal.SIGKILL)
def look():
    if file._writer._pidfd >= 0 and file._writer._pid != child:
        loop.stop()
    else:
        loop.after(0.01, look)
look()
loop.run()
log("to the next")
"""


def lines_of(path: Path, middle: str) -> list[str]:
    with path.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", _BEGIN + middle + _END],
            stderr=file,
            timeout=60,
            check=False,
        )
    text = path.read_text()
    assert done.returncode == 0, text
    assert "Traceback" not in text
    return [line.removeprefix("penstockd: ") for line in text.splitlines()]


def test_a_disk_that_stands_still_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    """What fits into the pipe is kept, in order; the rest is counted; nobody has waited."""
    first, *kept, lost, last = lines_of(tmp_path / "log", _STUCK)
    assert (first, last) == ("first", "last")
    numbers = [int(line.split()[0]) for line in kept]
    assert numbers == list(range(len(numbers)))
    assert 100 < len(numbers) < 5000
    assert lost == f"{5000 - len(numbers)} lines lost, as nobody took them"


def test_one_that_is_killed_is_followed_by_another(tmp_path: Path) -> None:
    """What it had not taken out of the pipe is not lost."""
    assert lines_of(tmp_path / "log", _KILLED) == [
        "first",
        "while it stands still",
        "the process that writes the log has ended; again in 1 s",
        "to the next",
        "last",
    ]


@pytest.mark.parametrize("how", ["pipe", "null"])
def test_what_is_no_file_is_left_as_it_is(how: str) -> None:
    """Pipes can be asked, and need no process."""
    script = (
        "import os; before = os.fstat(2).st_ino\n"
        "from penstock.supervisor.logs.log_file import LogFile\n"
        "from penstock.supervisor.kernel.loop import Loop\n"
        "file = LogFile(Loop()); file.start()\n"
        "assert (os.fstat(2).st_ino, file._writer._pid) == (before, 0); file.end()\n"
    )
    stderr = subprocess.PIPE if how == "pipe" else subprocess.DEVNULL
    done = subprocess.run([sys.executable, "-c", script], stderr=stderr, check=False)
    assert done.returncode == 0, done.stderr
