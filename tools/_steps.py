"""The steps of tools/test: one command after the other, each timed, and what is under way."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from _env import ROOT
from _test_run import Leftovers, command_of, descendants, end_descendants
from _warden import ENDING

# No test of the suite is silent for so long on a slow machine: the longest is bounded by 20
# minutes. Whatever is silent for longer hangs.
HANG_S = 1800.0
UNDER_WAY = "under-way"
# The tests that every run has; the others are for tools/test --all and --release.
NOT_BY_DEFAULT = "not slow and not interop and not release"
_LOOK_EACH_S = 1.0
# For a process to write where its threads are.
_STACKS_S = 5.0
# One word of a command line.
Word = str | Path


class StepFailed(Exception):
    """A step ended with this exit status, hangs, or ran out of time."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Steps:
    """Runs commands in ``environ``; ``directory`` is the run's.

    ``budget_s``: how long all of it may take, for who wants a bound; None: until it hangs.
    """

    environ: dict[str, str]
    directory: Path
    budget_s: float | None = None
    cut: bool = False
    failed: list[str] = field(default_factory=list)
    seconds: list[tuple[str, float]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def check(
        self,
        name: str,
        *command: Word,
        passes: tuple[int, ...] = (0,),
        hang_s: float = float("inf"),
    ) -> int:
        """Runs a step whose failure is kept for the end, so that all of them are seen.

        The exit status; ``passes`` are those that are no failure. With ``hang_s`` it is ended once
        no test has begun or ended for so long. Raises StepFailed where the budget is over.
        """
        try:
            return self.run(name, *command, passes=passes, hang_s=hang_s)
        except StepFailed as error:
            if self._left_s() == 0:
                raise
            self.failed.append(str(error))
            return error.status

    def run(
        self,
        name: str,
        *command: Word,
        passes: tuple[int, ...] = (0,),
        hang_s: float = float("inf"),
    ) -> int:
        """Runs a command to its end. Raises StepFailed."""
        print(f"==> {name}", flush=True)
        began = time.monotonic()
        # What a test's children inherit is what tests/lib/process_state.py says; a linter's and
        # a build's are the ordinary dispositions, also where this program was started with others.
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            preexec_fn=_take_signals,  # noqa: PLW1509  this program has one thread
        )
        try:
            status = self._wait(name, process, hang_s)
        finally:
            self.seconds.append((name, time.monotonic() - began))
        if status < 0:  # what it was doing goes on without it, and beside the next step
            end_descendants(Leftovers())
        if status not in passes:
            raise StepFailed(status, f"{name}: exit status {status}")
        if not name.startswith("pytest"):  # its closing line stays the last one of its step
            print(f"    {time.monotonic() - began:.1f} s", flush=True)
        return status

    def _wait(self, name: str, process: subprocess.Popen[bytes], hang_s: float) -> int:
        began = time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(min(_LOOK_EACH_S, self._left_s()))
            if self._left_s() == 0:
                why, status = f"not done {self.budget_s:g} s after the start, as --budget asks", 124
            elif time.monotonic() - max(began, self._last_progress()) > hang_s:
                why, status = f"hangs: no test has begun or ended for {hang_s:g} s", 125
            else:
                continue
            under_way = self.under_way()
            self.cut = True
            show_stacks()
            process.kill()
            process.wait()
            end_descendants(Leftovers())  # this program's only ones are the step's
            raise StepFailed(status, f"{name}: {why}{under_way}")

    def _left_s(self) -> float:
        if self.budget_s is None:
            return float("inf")
        return max(0.0, self.began + self.budget_s - time.monotonic())

    def _last_progress(self) -> float:
        """When a test last began, by the monotonic clock."""
        times = [0.0]
        for path in self.directory.glob(f"{UNDER_WAY}/*"):
            with contextlib.suppress(OSError):
                times.append(time.monotonic() - max(0.0, time.time() - path.stat().st_mtime))
        return max(times)

    def under_way(self) -> str:
        """The tests that run now, and for how long; empty where none does."""
        lines = []
        for path in sorted(self.directory.glob(f"{UNDER_WAY}/*")):
            with contextlib.suppress(OSError):
                seconds = max(0.0, time.time() - path.stat().st_mtime)
                lines.append(f"\n  under way for {seconds:.0f} s: {path.read_text()}")
        advice = (
            "\n  Leave out --budget to have no bound; for one file: tools/test --quick PATH"
            if self.budget_s is not None
            else ""
        )
        return "".join(lines) + advice

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """What this program does itself, in the table of steps as the others are."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds.append((name, time.monotonic() - began))

    def table(self) -> str:
        """How long each step took."""
        width = max((len(name) for name, _ in self.seconds), default=0)
        lines = [f"  {name:<{width}}  {seconds:7.1f} s" for name, seconds in self.seconds]
        total = time.monotonic() - self.began
        return "\n".join(["Steps:", *lines, f"  {'all':<{width}}  {total:7.1f} s"])


def show_stacks() -> None:
    """Where each pytest below this process is: its faulthandler says so on SIGABRT."""
    pids = [pid for pid in descendants(os.getpid()) if "pytest" in command_of(pid)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGABRT)
    deadline = time.monotonic() + _STACKS_S
    while time.monotonic() < deadline and any(command_of(pid) for pid in pids):
        time.sleep(0.05)  # most are no children of this process


def _take_signals() -> None:
    """In a child: no signal is ignored or blocked that this program ignores or blocks."""
    for number in (*ENDING, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def open_standard_descriptors() -> None:
    """Where one of 0 to 2 is closed, /dev/null: else the next file that is opened becomes it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    # Python has none of these where the descriptor was closed.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  for the process's whole life
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115  as above
