"""Agents for tests: a directory of their own, the front end as it is installed, and the process."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from patience import patient
from this_run import this_run

from penstock.agent.agent_address import AgentAddress
from penstock.agent.likeness import kind, likeness

FRONT_END = Path(__file__).resolve().parents[2] / "src" / "penstock" / "agent" / "penstock"
MODULE = (sys.executable, "-P", "-c", "from penstock.agent import main; main()")
# What changes Python is compared between front end and agent, so both get what this process has.
CHANGING = ("PYTHON", "LD_", "OPENSSL", "SSL", "RES_", "HOSTALIASES", "LOCALDOMAIN")


@dataclass
class AgentPlace:
    """``runtime`` is the user's XDG_RUNTIME_DIR, ``program`` what is typed."""

    runtime: Path
    program: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> AgentAddress:
        """Of the agent that front ends like this process use."""
        return AgentAddress(str(self.runtime), "default", kind(likeness(os.environb)))

    @property
    def socket(self) -> Path:
        return self.address.socket

    @property
    def log(self) -> Path:
        return self.socket.with_suffix(".log")

    def environment(self, way: str = "on") -> dict[str, str]:
        """Of a front end."""
        return {"XDG_RUNTIME_DIR": str(self.runtime), "PENSTOCK_AGENT": way} | self.changing()

    def changing(self) -> dict[str, str]:
        return {key: text for key, text in os.environ.items() if key.startswith(CHANGING)}

    def begin(self, idle_s: float = 600.0) -> subprocess.Popen[bytes]:
        """Starts an agent, and waits until it listens."""
        self.process = subprocess.Popen(
            [*MODULE, "run", "default", str(idle_s)],
            env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(self.runtime)}
            | self.changing(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + patient(20)
        while not self.state():
            assert self.process.poll() is None, "the agent has ended"
            assert time.monotonic() < deadline, "the agent does not listen"
            time.sleep(0.02)
        return self.process

    def ask(self, word: str) -> dict[str, Any]:
        """What ``penstock agent status`` or ``stop`` answers."""
        done = subprocess.run(
            [*MODULE, word, "default", "--json"],
            env={"PATH": os.environ["PATH"]} | self.environment(),
            capture_output=True,
            timeout=patient(20),
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
        return found

    def state(self) -> dict[str, Any]:
        """What it says of itself; nothing where none runs."""
        if not self.socket.exists():
            return {}
        found = self.ask("status")
        return found if found["pid"] else {}

    def end(self) -> None:
        """Every agent that was started here is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.end_begun()

    def end_begun(self) -> None:
        """Those that front ends have started."""
        for pid in self.begun():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def begun(self) -> list[int]:
        """Agents that front ends have started, those that have ended among them. Their parents have
        ended, so they are children of this process, which is a subreaper."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                name, _, fields = (path / "stat").read_text().partition("(")[2].rpartition(")")
                state, parent = fields.split()[:2]
                line = (path / "cmdline").read_bytes()
                ours = int(parent) == os.getpid() and (
                    b"penstock.agent" in line or (state == "Z" and name.startswith("python"))
                )
                if ours and (self.process is None or int(path.name) != self.process.pid):
                    found.append(int(path.name))
        return found


async def until(place: AgentPlace, true: Callable[[dict[str, Any]], bool]) -> None:
    """Waits until this is true of what the agent says of itself."""
    with trio.fail_after(patient(10)):
        # No event reports it.
        while not true(await trio.to_thread.run_sync(place.state)):  # noqa: ASYNC110
            await trio.sleep(0.02)


def install(directory: Path) -> Path:
    """The front end as an installer puts it; beside it what tells which Python it is for."""
    directory.mkdir(parents=True)
    program = directory / "penstock"
    shutil.copy(FRONT_END, program)
    program.chmod(0o755)
    (directory / "penstockd").write_text(f"#!{sys.executable}\nimport sys\n")
    return program


@contextmanager
def agent_place() -> Iterator[AgentPlace]:
    """Not pytest's own directory, whose name is too long for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="agent-", dir=this_run().directory) as path:
        runtime = Path(path, "run")
        runtime.mkdir(mode=0o700)
        place = AgentPlace(runtime, install(Path(path, "bin")))
        try:
            yield place
        finally:
            place.end()
