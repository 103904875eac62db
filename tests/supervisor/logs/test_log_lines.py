"""A line of a log: whatever becomes of who takes it, writing one returns; what is lost is told."""

import contextlib
import fcntl
import os
import pty
import resource
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import patient

import penstock.supervisor.logs.log_lines as lines_module
from penstock.supervisor.kernel.loop import Loop
from penstock.supervisor.logs.log_lines import LINE_BYTES, LineStream, LineWriter
from penstock.supervisor.logs.log_relay import Relay


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """A write that waits is ended by a signal, and the test with it."""

    def too_long(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, patient(5))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_all(fd: int) -> bytes:
    """What is there now."""
    data = b""
    while select.select([fd], [], [], 0)[0] and (part := os.read(fd, 65536)):
        data += part
    return data


def until_lost(lines: LineWriter) -> int:
    """Writes until one is lost; how many were taken."""
    count = 0
    while not lines.lost:
        lines.write("x" * 500)
        count += 1
    return count - 1


def test_a_pipe_that_nobody_reads_never_blocks_and_tells_later() -> None:
    """Lines are counted while it is full, and the count comes before the next line; the open file
    stays as it was, as others have it."""
    read_fd, write_fd = os.pipe()
    lines = LineWriter(write_fd, "it")
    with bounded():
        taken = until_lost(lines)
        for _ in range(99):
            lines.write("lost")
    assert taken > 10
    assert lines.lost == 100
    assert not fcntl.fcntl(write_fd, fcntl.F_GETFL) & os.O_NONBLOCK
    assert read_all(read_fd).count(b"\n") == taken
    lines.write("again")
    assert read_all(read_fd) == b"it: 100 lines lost, as nobody took them\nagain\n"
    until_lost(lines)
    read_all(read_fd)
    assert lines.tell_lost()  # without a line that follows
    assert read_all(read_fd) == b"it: 1 line lost, as nobody took them\n"
    os.close(read_fd)
    os.close(write_fd)


def test_who_fills_the_pipe_between_look_and_write_does_not_make_us_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others may have the same pipe, and be faster, each time."""
    read_fd, write_fd = os.pipe()
    lines = LineWriter(write_fd, "it")
    monkeypatch.setattr(lines_module, "_has_room", lambda fd: True)
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.pwritev(write_fd, [b"x" * 4096], -1, os.RWF_NOWAIT)
    except OSError:
        pytest.skip("Linux before 6.4: a pipe cannot be told not to wait for one write alone")
    else:
        with bounded():
            lines.write("x" * 3000)
        assert lines.lost == 1
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_a_reader_that_is_gone_raises_nothing() -> None:
    """Not even SIGPIPE where that has its default action, which ends a process."""
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    lines = LineWriter(write_fd, "it")
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        lines.write("nobody")
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert lines.lost == 1
    os.close(write_fd)
    lines.write("closed")
    assert lines.lost == 2


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_that_nobody_reads_never_blocks(kind: int) -> None:
    """As journald's is; it stays blocking for whoever else has it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    lines = LineWriter(ours.fileno(), "it")
    with bounded():
        assert until_lost(lines) > 3
    assert not fcntl.fcntl(ours.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
    read_all(theirs.fileno())
    lines.write("again")
    assert read_all(theirs.fileno()) == b"it: 1 line lost, as nobody took them\nagain\n"
    theirs.close()
    lines.write("gone")
    assert lines.lost == 1
    ours.close()


def test_a_terminal_that_is_stopped_or_hung_up_never_blocks() -> None:
    """One whose emulator does not read, and one that was closed."""
    master, slave = pty.openpty()
    lines = LineWriter(slave, "it")
    with bounded():
        assert until_lost(lines) > 1
        for _ in range(200):
            lines.write("z" * 4000)
    assert not fcntl.fcntl(slave, fcntl.F_GETFL) & os.O_NONBLOCK
    before = lines.lost  # a terminal gives the bytes on in its own time: some were taken between
    assert before
    os.close(master)
    lines.write("hung up")
    assert lines.lost == before + 1
    os.close(slave)


def test_a_file_that_takes_no_more_raises_nothing_and_goes_on(tmp_path: Path) -> None:
    """The bound of its size stands for the end of a disk: it takes a part of a line, which is ended
    before the next one."""
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    lines = LineWriter(fd, "it")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1200, before[1]))
    try:
        taken = until_lost(lines)
        lines.write("lost too")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (taken, lines.lost) == (2, 2)
    lines.write("room again")
    os.close(fd)
    *whole, torn, told, last = (tmp_path / "log").read_text().splitlines()
    assert whole == ["x" * 500] * 2
    assert set(torn) == {"x"}
    assert (told, last) == ("it: 2 lines lost, as nobody took them", "room again")


def test_a_device_that_is_full_raises_nothing() -> None:
    """ENOSPC at once."""
    fd = os.open("/dev/full", os.O_WRONLY)
    lines = LineWriter(fd, "it")
    lines.write("no room")
    assert lines.lost == 1
    os.close(fd)


@pytest.mark.parametrize("text", ["x" * 100_000, "\u00e9" * 3000, "\x1b" * 2000])
def test_a_line_is_bounded_and_one_line(text: str) -> None:
    """More than PIPE_BUF would be neither whole nor without a wait."""
    read_fd, write_fd = os.pipe()
    lines = LineWriter(write_fd, "it")
    lines.write(text)
    data = read_all(read_fd)
    assert len(data) <= LINE_BYTES
    assert data.endswith(b" [cut]\n")
    assert data.decode()
    lines.write("a\nforged\x1b[2J\udcff")
    assert read_all(read_fd) == b"a\\x0aforged\\x1b[2J\\xdcff\n"
    os.close(read_fd)
    os.close(write_fd)


def test_what_python_prints_becomes_lines() -> None:
    """Pieces of a line wait for their end; one without an end does not wait for ever."""
    told: list[str] = []
    stream = LineStream(told.append)
    print("Traceback", "of\nsomething", file=stream, end="")
    assert told == ["Traceback of"]
    print(file=stream)
    assert told == ["Traceback of", "something"]
    print("y" * 5000, file=stream, end="")
    assert told[2] == "y" * 5000


def test_what_the_server_says_is_relayed_to_its_last_word() -> None:
    """Whole lines as they come, and at its end what is left; the server never waits for us."""
    told: list[str] = []
    loop = Loop()
    relay = Relay(loop, told.append)
    fd = relay.open()
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    os.write(fd, b"one\ntw")

    def go_on() -> None:
        os.write(fd, b"o\nlast \xff")
        loop.stop()

    loop.after(0.0, go_on)
    loop.run()
    assert told == ["one"]
    os.close(fd)
    relay.close()
    assert told == ["one", "two", "last \N{REPLACEMENT CHARACTER}"]
    relay.close()
