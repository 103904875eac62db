"""A signal while the CLI is still being imported ends it without a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import patient

# Sends itself a signal at the n-th import after the console script has called main.
AT_AN_IMPORT = """
import os, sys

number, left, told = (int(sys.argv.pop(1)) for _ in range(3))


class Interrupt:
    def find_spec(self, name, path=None, target=None):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)


from penstock.cli import main

sys.meta_path.insert(0, Interrupt())
try:
    main()
finally:
    os.write(told, str(left).encode())
"""


def interrupted_at(number: int, nth: int) -> tuple[int, bytes, bool]:
    """The status, what was said, and whether it came to its n-th import."""
    ours, theirs = os.pipe()
    numbers = [str(each) for each in (number, nth, theirs)]
    words = ["--addr", "127.0.0.1:1", "version"]
    done = subprocess.run(
        [sys.executable, "-c", AT_AN_IMPORT, *numbers, *words],
        env={"PATH": os.environ["PATH"]},
        pass_fds=(theirs,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=patient(30),
        check=False,
    )
    os.close(theirs)
    with open(ours, "rb") as pipe:
        left = pipe.read()
    return done.returncode, done.stderr, left == b"" or int(left) <= 0


def check(number: int, nth: int) -> bool:
    code, said, came_so_far = interrupted_at(number, nth)
    assert b"Traceback" not in said, said.decode()
    assert b"KeyboardInterrupt" not in said
    if came_so_far:
        # Before our handlers are there, all but ^C are the kernel's.
        assert code in (128 + number, -number), (nth, code, said)
    return came_so_far


@pytest.mark.parametrize("nth", [1, 30, 200])
def test_an_interrupt_at_an_import(nth: int) -> None:
    """Of the first module, of the command line's, and of the transport's."""
    assert check(signal.SIGINT, nth)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_at_imports_all_along(number: signal.Signals) -> None:
    """To the last one."""
    reached = [check(number, nth) for nth in (*range(1, 12), *range(12, 700, 23))]
    assert any(reached)
    assert not all(reached), "there are more imports than these"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_interrupt_at_any_moment() -> None:
    """By the clock, once signals are the program's own: Python's own start is Python's."""
    for delay_ms in range(0, 400, 13):
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock.cli", "list"],
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        with process.stderr:
            # Nobody is told of it, so it is asked for again and again.
            while process.poll() is None and not catches(process.pid, signal.SIGTERM):
                time.sleep(0.001)
            time.sleep(delay_ms / 1000)  # the moment is what is tried, not waited for
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            said = process.stderr.read()
        # At the very end, all said and done, Python gives the signal back to the kernel.
        assert process.wait(patient(30)) in (130, -signal.SIGINT, 2), said
        assert b"Traceback" not in said, said.decode()


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal (proc(5): SigCgt)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
    return bool(masks) and bool(masks[0] >> (number - 1) & 1)
