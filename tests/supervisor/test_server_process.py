"""The server as the supervisor's child, where the whole supervisor cannot be brought to it."""

import errno
import os

import pytest

from penstock.supervisor.ipc.protocol import FILES_REFUSED
from penstock.supervisor.kernel.loop import Loop
from penstock.supervisor.kernel.reap import strangers
from penstock.supervisor.server_process import ServerProcess


def test_a_server_that_cannot_be_watched_is_started_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """penstockd is out of descriptors in that moment: nobody would hear of this one's end."""
    loop = Loop()
    pidfd_open = os.pidfd_open
    unwatched: list[int] = []

    def first_fails(pid: int) -> int:
        if not unwatched:
            unwatched.append(pid)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        loop.stop()
        return pidfd_open(pid)

    server = ServerProcess(loop, ["/bin/sleep", "300"], None)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pidfd_open", first_fails)
        server.start()
        assert not server.running
        loop.run()
    assert server.pid not in (None, *unwatched)
    assert "cannot be watched: Too many open files; starting it again" in capfd.readouterr().err
    server.stop(0.0, loop.stop)
    loop.run()
    while unwatched[0] in strangers():
        pass


def test_one_that_cannot_use_the_files_is_started_again_if_that_is_wanted(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Jobs may wait to be taken over; where nothing does, it would only fail again."""
    loop = Loop()
    asked: list[bool] = []

    def ends() -> bool:
        asked.append(len(asked) == 1)
        if asked[-1]:
            loop.stop()
        return asked[-1]

    argv = ["/bin/sh", "-c", f"exit {FILES_REFUSED}"]
    server = ServerProcess(loop, argv, None, on_files_refused=ends)
    server.start()
    loop.run()
    assert asked == [False, True]
    assert not server.running
    said = capfd.readouterr().err
    assert said.count("the server cannot use the files; starting it again in 0.1 s") == 1
    assert said.count("starting it again") == 1
