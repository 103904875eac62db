"""Processes that the kernel made our children, because their parent has died."""

import os
import signal
import subprocess
import sys

import pytest

from penstock.supervisor.kernel import proc_tree, reap

PROGRAM = """
import os, sys, time
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(1000)
"""


def test_whom_one_has_left_that_died_behind_the_list_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its parent was in the list, and is dead when it is looked at: then its children are ours."""
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    true = proc_tree.children
    listed: list[set[int]] = []

    def children(pid: int) -> set[int]:
        listed.append(true(pid))
        if len(listed) == 1:
            parent.kill()
            os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
        return listed[-1]

    monkeypatch.setattr("penstock.supervisor.kernel.reap.children", children)
    try:
        assert parent.pid not in (found := reap.strangers())
        assert child in found
        assert child not in listed[0]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        parent.stdout.close()
        parent.returncode = -signal.SIGKILL  # it was reaped as a stranger
