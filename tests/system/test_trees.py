"""Killing trees of processes without groups, on the real kernel."""

import os
import signal

from penstock.supervisor.kernel import proc_tree


def paused_child() -> int:
    pid = os.fork()
    if pid == 0:
        try:
            signal.pause()
        finally:
            os._exit(0)
    return pid


def test_one_that_is_gone_does_not_end_the_search() -> None:
    """Its pidfd, held by somebody, makes Linux 6.1 say EINVAL; who comes later is killed too."""
    gone = paused_child()
    pidfd = os.pidfd_open(gone)
    os.kill(gone, signal.SIGKILL)
    os.waitpid(gone, 0)
    living = paused_child()
    rounds = iter([{gone}, {gone, living}])
    assert proc_tree.kill(lambda: next(rounds, {gone, living})) == 1
    _, status = os.waitpid(living, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    os.close(pidfd)
