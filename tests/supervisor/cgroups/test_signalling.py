"""The order in which the members of a group are signalled; on the kernel: tests/system."""

import os
import signal

import pytest

from penstock.supervisor.cgroups import signal_members


def test_the_main_process_hears_before_those_whose_end_it_would_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it is listed: who was moved out of the group and back is its last member."""
    opened: dict[int, int] = {}
    sent: list[int] = []
    real_open, real_send = os.pidfd_open, signal.pidfd_send_signal

    def opening(pid: int) -> int:
        fd = real_open(pid)
        opened[fd] = pid
        return fd

    def sending(fd: int, number: int) -> None:
        real_send(fd, number)
        sent.append(opened[fd])

    monkeypatch.setattr(os, "pidfd_open", opening)
    monkeypatch.setattr(signal, "pidfd_send_signal", sending)
    children = []
    try:
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
        for main in children:
            sent.clear()
            assert signal_members(lambda: list(children), 0, main) == 5
            assert sent == [main, *(pid for pid in children if pid != main)]
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
