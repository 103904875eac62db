"""A job that is traced when it ends: the kernel keeps its exit status for the tracer."""

import os
import signal
import subprocess
import sys
import time

import pytest
from supervisor_peer import PATIENCE_S
from supervisor_process import MODES, command, running_supervisor, shell

PTRACE_SEIZE = 0x4206
# Its child traces it, and then does nothing more, so never waits for it.
OWN_TRACER = f"""
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)
here, there = os.pipe()
if os.fork() == 0:
    os.write(there, b"%d" % libc.ptrace({PTRACE_SEIZE}, os.getppid(), None, None))
    signal.pause()
print(os.read(here, 10).decode(), flush=True)
sys.exit(7)
"""


@pytest.mark.root
def test_a_job_that_its_own_child_traces() -> None:
    """It ends with its status, its tree is killed, and others are served meanwhile."""
    fixed = f"fixed = ['-I', '-c', '''{OWN_TRACER}''']\nseccomp = false\n"
    text = command("traced", "/usr/bin/python3", root=True, extra=fixed)
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("traced")
        if job.read(until=b"\n") != b"0\n":
            pytest.skip("no process may trace another on this kernel")
        exited, emptied = peer.end(job)
        assert os.waitstatus_to_exitcode(exited["status"]) == 7
        assert emptied["killed"] == 1


@pytest.mark.slow
@pytest.mark.root
def test_a_job_that_somebody_else_traces() -> None:
    """Its status is not known then; it is nobody's zombie afterwards."""
    text = shell("wait", "echo $$; read line", root=True, extra="stdin = true\n")
    tracer = f"""
import ctypes, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace({PTRACE_SEIZE}, int(sys.argv[1]), None, None), flush=True)
signal.pause()
"""
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("wait", stdin=True)
        command_line = [sys.executable, "-c", tracer, str(job.pid)]
        with subprocess.Popen(command_line, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                if process.stdout.readline() != b"0\n":
                    pytest.skip("no process may trace another on this kernel")
                peer.send("KILL", id=job.id)
                exited, _ = peer.end(job)
                assert exited["status"] is None
            finally:
                process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while os.path.exists(f"/proc/{job.pid}"):
            assert time.monotonic() < deadline


TRACED_BY_ITS_PARENT = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(0, 0, None, None), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
print("went on", flush=True)
"""


@pytest.mark.parametrize("root", MODES)
def test_a_job_that_stops_traced_by_its_parent(root: bool) -> None:
    """It has not ended, and nobody says so. It dies as any other."""
    fixed = f"fixed = ['-I', '-c', '''{TRACED_BY_ITS_PARENT}''']\nisolation = 'none'\n"
    text = command("traced", "/usr/bin/python3", root=root, extra=fixed)
    with running_supervisor(text, root=root) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("traced")
        if job.read(until=b"\n") != b"0\n":
            pytest.skip("no process may trace another on this kernel")
        deadline = time.monotonic() + PATIENCE_S
        while (state := stat_state(job.pid)) not in "tT":
            assert time.monotonic() < deadline, state
        peer.send("SIGNAL", id=job.id, signal=signal.SIGCONT)
        assert peer.wait("SIGNALED", job.id)["count"] == 1
        peer.send("KILL", id=job.id)
        exited, _ = peer.end(job)
        assert os.WTERMSIG(exited["status"]) == signal.SIGKILL


def stat_state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]
