"""Whatever is found where an agent should listen, the verb is run, and soon."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from agents import MODULE, AgentPlace
from disks import fill_bytes, fill_inodes
from patience import patient

from penstock.agent import wire
from penstock.agent.failure_log import FailureLog

# Without a server: it fails by itself, at once, and the same with and without an agent.
WORDS = ("status", "1")
REFUSED = "Error: no server to connect to"


def penstock(
    place: AgentPlace, *words: str, runtime: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"]} | place.environment()
    if runtime is not None:
        environment["XDG_RUNTIME_DIR"] = str(runtime)
    return subprocess.run(
        [place.program, *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(20),
        check=False,
    )


def runs(place: AgentPlace, runtime: Path | None = None) -> None:
    """The verb ends as ever."""
    done = penstock(place, *WORDS, runtime=runtime)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(REFUSED)


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + patient(20)
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def a_file(path: Path) -> None:
    path.write_text("what is this?\n")


def a_link(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


@pytest.mark.parametrize("make", [a_file, os.mkfifo, a_link])
def test_what_is_no_socket_is_replaced(place: AgentPlace, make: Callable[[Path], None]) -> None:
    """By the agent that the front end starts, and nothing that a link leads to is touched."""
    place.socket.parent.mkdir(mode=0o700)
    make(place.socket)
    runs(place)
    until(place.socket.is_socket)
    until(place.state)
    runs(place)
    assert place.state()["served"] == 1


@pytest.mark.parametrize("name", ["sock", "lock", "log"])
def test_what_cannot_be_replaced_leaves_the_full_program(place: AgentPlace, name: str) -> None:
    """A directory in place of one of its files."""
    place.socket.parent.mkdir(mode=0o700)
    place.socket.with_suffix(f".{name}").mkdir()
    runs(place)
    runs(place)
    assert place.socket.with_suffix(f".{name}").is_dir()


def test_a_pipe_in_place_of_its_log_keeps_nobody_waiting(place: AgentPlace) -> None:
    """Nobody reads it."""
    place.socket.parent.mkdir(mode=0o700)
    place.socket.parent.chmod(0o755)
    os.mkfifo(place.log)
    done = subprocess.run(
        [*MODULE, "run"],
        env={"PATH": os.environ["PATH"]} | place.environment(),
        capture_output=True,
        timeout=patient(20),
        check=False,
    )
    assert (done.returncode, b"chmod 700" in done.stderr) == (1, True)


def test_a_directory_in_which_others_could_put_a_socket(agent: AgentPlace) -> None:
    """As a link to one of the user's own that is no agent's, which would be told everything."""
    runs(agent)
    agent.socket.parent.chmod(0o777)
    runs(agent)
    agent.socket.parent.chmod(0o700)
    assert agent.state()["served"] == 1
    moved = agent.runtime / "moved"
    agent.socket.parent.rename(moved)
    agent.socket.parent.symlink_to(moved)
    runs(agent)
    agent.socket.parent.unlink()
    moved.rename(agent.socket.parent)
    assert agent.state()["served"] == 1


def test_a_link_to_the_users_directory_is_as_good(agent: AgentPlace) -> None:
    """XDG_RUNTIME_DIR itself may be one, which is the user's own word."""
    link = agent.runtime.with_name("link")
    link.symlink_to(agent.runtime)
    runs(agent, link)
    assert agent.state()["served"] == 1


def test_a_name_that_is_too_long_for_a_socket(place: AgentPlace) -> None:
    """107 bytes are not: the command that asks for an agent says so, the others do without."""
    room = 107 - len(os.fsencode(place.socket)) + len(os.fsencode(place.runtime))
    for size in (room, room + 1):
        runtime = place.runtime.parent / ("r" * (size - len(os.fsencode(place.runtime.parent)) - 1))
        runtime.mkdir(mode=0o700)
        said = penstock(place, "agent", "status", runtime=runtime)
        if size == room:
            assert said.stdout == "No agent runs for default.\n"
            continue
        assert said.returncode == 1
        assert "is 108 bytes long, and the name of a socket has at most 107" in said.stderr
        runs(place, runtime)
        assert not list(runtime.iterdir())
    assert place.begun() == []


class Talker:
    """On the socket, in place of an agent: says these pieces, one after the other, with a pause."""

    def __init__(self, place: AgentPlace, pieces: "list[bytes]", pause_s: float) -> None:
        place.socket.parent.mkdir(mode=0o700)
        self._pieces = pieces
        self._left = threading.Event()
        self._pause_s = pause_s
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(place.socket))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        link, _ = self._socket.accept()
        with link:
            for piece in self._pieces:
                try:
                    link.sendall(piece)
                except OSError:
                    return
                self._left.wait(self._pause_s)

    def close(self) -> None:
        self._left.set()
        self._thread.join()
        self._socket.close()


ENDLESS = [b"a\xff\xff\xff\xff"] + [b"x" * 65536] * 10_000
MANY = [wire.message(wire.TAKEN, b"x" * 65531)] * 10_000
TRICKLE = [bytes((each,)) for each in wire.message(wire.ACCEPTED, b"\1" * 200)]


@pytest.mark.parametrize("words", [WORDS, ("agent", "status")])
@pytest.mark.parametrize(
    ("pieces", "pause_s"),
    [
        pytest.param([wire.message(wire.ACCEPTED)], 0.0, id="no status"),
        pytest.param(ENDLESS, 0.0, id="endless"),
        pytest.param(MANY, 0.0, id="many messages"),
        pytest.param(TRICKLE, 0.25, id="trickle", marks=pytest.mark.slow),
    ],
)
def test_one_that_talks_on_is_left(
    place: AgentPlace, pieces: list[bytes], pause_s: float, words: tuple[str, ...]
) -> None:
    """At the latest after three seconds, whatever it says meanwhile."""
    talker = Talker(place, pieces, pause_s)
    begin = time.monotonic()
    try:
        if words == WORDS:
            runs(place)
        else:
            done = penstock(place, *words)
            assert done.returncode == 1
            assert done.stderr.startswith("Error: ")
            assert "Traceback" not in done.stderr
        assert time.monotonic() - begin < patient(10)
    finally:
        talker.close()


@pytest.mark.slow
@pytest.mark.root
def test_a_full_disk(place: AgentPlace) -> None:
    """Where the socket, the lock and the log are: the verb runs; an agent that has begun goes on,
    and one begins when there is room."""
    options = "size=64k,nr_inodes=8,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place.runtime], check=True)
    try:
        inodes = fill_inodes(place.runtime)
        for _ in range(2):
            runs(place)
            until(lambda: not living(place))
        shutil.rmtree(inodes)
        filler = fill_bytes(place.runtime)
        place.begin()  # its files are empty
        FailureLog(place.log).write("it broke")
        runs(place)
        assert place.state()["served"] == 1
        assert not place.log.exists() or place.log.stat().st_size == 0
        filler.unlink()
        place.end()
    finally:
        subprocess.run(["umount", place.runtime], check=True)


def living(place: AgentPlace) -> list[int]:
    """Agents that front ends have started, and that have not ended yet."""
    found = []
    for pid in place.begun():
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            found.append(pid)
    return found
