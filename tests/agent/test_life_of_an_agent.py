"""An agent begins by itself, holds nothing of whoever started it, and ends when it is not used."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from agents import MODULE, AgentPlace
from fake_service import HANDLE, FakeService, chunk, fake_server
from json_schema import mistakes
from patience import patient

from penstock import __version__
from penstock.agent import wire
from penstock.agent.agent_probe import probe
from penstock.cli.json_schemas import schema_of
from penstock.proto import command_pb2 as pb

# Without a server: it fails by itself, at once, and the same with and without an agent.
WORDS = ("status", "1")
REFUSED = "Error: no server to connect to"


def penstock(place: AgentPlace, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [place.program, *words],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"} | place.environment() | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(20),
        check=False,
    )


def wait_for_agent(place: AgentPlace) -> int:
    """Its pid, once it listens."""
    deadline = time.monotonic() + patient(10)
    while not (found := place.state()):
        assert time.monotonic() < deadline, "no agent has begun"
        time.sleep(0.05)
    return int(found["pid"])


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + patient(10)
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_first_front_end_starts_it_and_does_not_wait(place: AgentPlace) -> None:
    """What that one does is as without; the next one finds it."""
    done = penstock(place, *WORDS)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(REFUSED)
    pid = wait_for_agent(place)
    assert penstock(place, *WORDS).stderr == done.stderr
    assert place.state()["served"] == 1
    assert place.state()["pid"] == pid


@pytest.mark.root
def test_it_has_nothing_of_whoever_started_it(place: AgentPlace, tmp_path: Path) -> None:
    """No descriptor, no session, no directory, no variable, no umask. Root, because an agent's
    memory and descriptors are nobody else's to look at."""
    reading, writing = os.pipe()
    subprocess.run(
        [place.program, *WORDS],
        env={"PATH": os.environ["PATH"], "SECRET": "s"} | place.environment(),
        pass_fds=(writing,),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.DEVNULL,
        timeout=patient(20),
        check=False,
    )
    os.close(writing)
    pid = wait_for_agent(place)
    assert os.read(reading, 1) == b""  # the pipe has no writer any more
    os.close(reading)
    proc = Path("/proc", str(pid))
    assert [os.readlink(proc / "fd" / str(fd)) for fd in range(3)] == ["/dev/null"] * 3
    others = {os.readlink(each) for each in (proc / "fd").iterdir()} - {"/dev/null"}
    own = ("socket:", "anon_inode:", "pipe:", str(place.runtime))
    assert all(each.startswith(own) for each in others), others
    assert os.readlink(proc / "cwd") == "/"
    assert b"SECRET" not in (proc / "environ").read_bytes()
    assert os.getsid(pid) not in (os.getsid(0), 0)
    status = (proc / "status").read_text()
    assert "Umask:\t0077" in status
    assert stat.S_IMODE(place.socket.stat().st_mode) == 0o600


def test_a_command_substitution_returns_at_once(place: AgentPlace) -> None:
    """Although the agent that it has started goes on: it holds no end of the pipe."""
    begin = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", 'x=$("$1" status 1 2>&1); echo "got $x"', "sh", place.program],
        env={"PATH": os.environ["PATH"]} | place.environment(),
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert done.stdout.startswith(f"got {REFUSED}")
    wait_for_agent(place)
    assert time.monotonic() - begin < patient(30)


def test_of_many_that_are_started_at_once_one_is_left(place: AgentPlace) -> None:
    """C72: each front end gets its answer, and the others end by themselves."""
    environment = {"PATH": os.environ["PATH"]} | place.environment()
    many = [
        subprocess.Popen(
            [place.program, *WORDS],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(4)
    ]
    assert [each.wait(patient(30)) for each in many] == [2] * 4
    pid = wait_for_agent(place)

    def alone() -> bool:
        for each in place.begun():
            if each != pid:
                os.waitpid(each, os.WNOHANG)
        return place.begun() == [pid]

    wait_for(alone)


def test_it_ends_when_it_is_not_used(place: AgentPlace) -> None:
    """C68: and its socket is gone; the next front end starts another one."""
    process = place.begin(idle_s=3)
    assert process.wait(patient(10)) == 0
    assert not place.socket.exists()
    assert not place.log.exists()


def test_stop_ends_it(agent: AgentPlace) -> None:
    """C68: at once, where nothing runs; and says so where none runs."""
    process = agent.process
    assert process is not None
    done = penstock(agent, "agent", "stop")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"The agent for default (pid {process.pid}) ends.\n"
    assert process.wait(patient(10)) == 0
    assert penstock(agent, "agent").stdout == "No agent runs for default.\n"


def streaming() -> FakeService:
    service = FakeService()
    service.messages = [chunk(b"hello\n")]
    service.stream_may_end = trio.Event()
    return service


@pytest.mark.parametrize("by", ["stop", "TERM"])
async def test_what_runs_goes_on_when_it_is_told_to_end(agent: AgentPlace, by: str) -> None:
    """C68: nothing new is taken meanwhile, and front ends run the full program."""
    process = agent.process
    assert process is not None
    service = streaming()
    async with fake_server(service) as server:
        async with server.cli("stream", "-q", "--no-timestamps", HANDLE) as cli:
            await cli.wait_for(b"hello")
            if by == "stop":
                assert agent.ask("stop")["running"] == 1
            else:
                process.send_signal(signal.SIGTERM)
                wait_for(lambda: not agent.socket.exists())
            service.statuses["5"] = pb.StatusResponse(status="Job 5 is running.", job=service.job)
            assert (await server.run_cli("status", "5")).code == 0
            assert process.poll() is None
            service.stream_may_end.set()
            await cli.process.wait()
        done = await cli.done()
    assert done.out == b"hello\n"
    assert process.wait(patient(10)) == 0


async def test_a_second_signal_does_not_wait(agent: AgentPlace) -> None:
    """C69: its front ends say that it is gone."""
    process = agent.process
    assert process is not None
    async with fake_server(streaming()) as server:
        async with server.cli("stream", "-q", "--no-timestamps", HANDLE) as cli:
            await cli.wait_for(b"hello")
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: not agent.socket.exists())
            process.send_signal(signal.SIGTERM)
            await cli.process.wait()
        done = await cli.done()
    assert process.wait(patient(10)) == 0
    assert done.code == 1
    assert done.err.startswith(b"Error: the agent has ended in the middle")


def test_one_that_could_not_begin_is_not_started_again_at_once(place: AgentPlace) -> None:
    """What went wrong is in a file beside the socket; the full program runs meanwhile."""
    (place.runtime / "penstock").mkdir(mode=0o700)
    place.log.write_text("it broke\n")
    assert penstock(place, *WORDS).returncode == 2
    time.sleep(0.5)
    assert place.begun() == []
    told = penstock(place, "agent").stdout
    assert told == f"No agent runs for default. What went wrong is in {place.log}\n"
    os.utime(place.log, (1, 1))
    assert penstock(place, *WORDS).returncode == 2
    wait_for_agent(place)
    assert not place.log.exists()


class Listener:
    """Something else on the socket: answers each connection as it is told."""

    def __init__(self, place: AgentPlace, answer: bytes | None) -> None:
        place.socket.parent.mkdir(mode=0o700)
        self.heard = bytearray()
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(place.socket))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        link, _ = self._socket.accept()
        with link:
            link.settimeout(patient(10))
            self.heard += link.recv(1 << 20)
            if self._answer is None:
                link.recv(1)  # nothing, until the front end has left
            else:
                link.sendall(self._answer)

    def close(self) -> None:
        self._thread.join()
        self._socket.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        wire.message(wire.DECLINED),
        wire.message(wire.ACCEPTED)[:3],
        pytest.param(None, id="silence"),
    ],
)
def test_what_is_no_agent_of_ours_is_not_used(place: AgentPlace, answer: bytes | None) -> None:
    """The full program runs, at the latest after three seconds."""
    listener = Listener(place, answer)
    done = penstock(place, *WORDS)
    listener.close()
    assert done.returncode == 2
    assert done.stderr.startswith(REFUSED)
    assert listener.heard


@pytest.mark.root
def test_a_listener_of_another_user_is_told_nothing(place: AgentPlace) -> None:
    """Not even what was typed."""
    place.socket.parent.mkdir(mode=0o700)
    place.runtime.parent.chmod(0o755)
    reading, writing = os.pipe()
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(place.socket))
            os.setuid(65530)
            listener.listen()
            os.write(told, b"1")
            link, _ = listener.accept()
            os.write(writing, link.recv(1 << 20))
        finally:
            os._exit(0)
    os.close(writing)
    os.read(ready, 1)
    done = penstock(place, *WORDS)
    heard = os.read(reading, 1 << 20)
    for fd in (reading, ready, told):
        os.close(fd)
    os.waitpid(child, 0)
    assert done.returncode == 2
    assert heard == b""


def test_another_version_is_not_used_and_leaves_its_place(agent: AgentPlace) -> None:
    """As after an update: the full program runs, and the next one has an agent of its kind."""
    process = agent.process
    assert process is not None
    text = agent.program.read_text()
    agent.program.write_text(text.replace(f'VERSION = "{__version__}"', 'VERSION = "9.9"'))
    done = penstock(agent, *WORDS)
    assert done.returncode == 2
    assert done.stderr.startswith(REFUSED)
    assert process.wait(patient(10)) == 0


def sockets(place: AgentPlace) -> set[str]:
    return {path.name for path in place.socket.parent.glob("agent-*.sock")}


def test_shells_with_other_variables_have_an_agent_of_their_own(agent: AgentPlace) -> None:
    """And use it from the second verb on, as often as two such shells take turns. Both are seen and
    ended by either."""
    assert penstock(agent, *WORDS, PYTHONTHAT="is other").returncode == 2
    wait_for(lambda: len(sockets(agent)) == 2)
    for _ in range(2):
        done = penstock(agent, *WORDS, PYTHONTHAT="is other")
        assert (done.returncode, done.stderr.startswith(REFUSED)) == (2, True)
        assert penstock(agent, *WORDS).returncode == 2
    lines = penstock(agent, "agent", "-o", "json").stdout.splitlines()
    said = [json.loads(line) for line in lines]
    assert [(each["own"], each["served"]) for each in said] == [(True, 2), (False, 2)]
    assert penstock(agent, "agent", "-o", "json", PYTHONTHAT="is other").stdout != ""
    shown = penstock(agent, "agent").stdout
    assert (
        f"The agent for default, of processes unlike this one, runs as pid {said[1]['pid']}"
        in shown
    )
    assert penstock(agent, "agent", "stop").stdout.count(" ends.\n") == 2
    wait_for(lambda: not sockets(agent))


def test_what_is_no_front_end_like_it_does_not_end_it(agent: AgentPlace) -> None:
    """Nor what is no message of ours."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(agent.socket))
        link.sendall(wire.message(wire.START))
        assert link.recv(100) == wire.message(wire.DECLINED)
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(agent.socket))
        link.sendall(wire.message(wire.START, b"\0\0\0\5cut"))
        assert link.recv(100) == b""
    assert not agent.log.exists()  # of what is there no agent is begun for a minute
    assert penstock(agent, *WORDS).returncode == 2
    assert agent.state()["served"] == 1


def test_declining_keeps_no_agent(place: AgentPlace) -> None:
    """One that every shell differs from ends as if it were not asked."""
    process = place.begin(idle_s=1.5)
    deadline = time.monotonic() + patient(20)
    while process.poll() is None:
        assert time.monotonic() < deadline
        with socket.socket(socket.AF_UNIX) as link, contextlib.suppress(OSError):
            link.connect(str(place.socket))
            link.sendall(wire.message(wire.START))
            link.recv(100)
    assert process.returncode == 0


def test_one_that_is_unlike_its_front_end_does_not_begin(place: AgentPlace) -> None:
    """As where something sets variables as Python starts: the front end would start another one
    each time. It reads what this one leaves."""
    place.socket.parent.mkdir(mode=0o700)
    done = subprocess.run(
        [*MODULE, "run", "default~00000000"],
        env={"PATH": os.environ["PATH"]} | place.environment(),
        timeout=patient(20),
        check=False,
    )
    assert done.returncode == 1
    assert [path.name for path in place.socket.parent.iterdir()] == ["agent-default~00000000.log"]


@pytest.mark.root
def test_none_is_started_in_another_users_directory(place: AgentPlace) -> None:
    """As with sudo -E: that user could make no directory there any more."""
    os.chown(place.runtime, 65530, 65530)
    assert penstock(place, *WORDS).returncode == 2
    ran = subprocess.run(
        [*MODULE, "run"], env=place.environment(), capture_output=True, check=False
    )
    assert (ran.returncode, b"is another user's" in ran.stderr) == (1, True)
    assert list(place.runtime.iterdir()) == []
    assert place.begun() == []


def test_why_one_cannot_begin_is_told_and_it_is_not_tried_each_time(place: AgentPlace) -> None:
    place.socket.parent.mkdir()
    place.socket.parent.chmod(0o755)
    assert penstock(place, *WORDS).returncode == 2
    deadline = time.monotonic() + patient(20)
    while not place.log.exists() or b"chmod 700" not in place.log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    place.end_begun()
    assert penstock(place, *WORDS).returncode == 2
    assert place.begun() == []


@pytest.mark.parametrize(
    "more",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LD_LIBRARY_PATH": "/nowhere"},
    ],
)
def test_what_an_agent_would_do_otherwise_is_not_its(
    agent: AgentPlace, more: dict[str, str]
) -> None:
    """Another locale, other libraries: the full program runs, or an agent that has them."""
    assert penstock(agent, *WORDS, **more).returncode == 2
    assert agent.state()["served"] == 0
    if "LC_ALL" not in more:
        wait_for(lambda: len(sockets(agent)) == 2)


def test_it_says_what_it_is_and_holds(agent: AgentPlace) -> None:
    penstock(agent, *WORDS)
    lines = penstock(agent, "agent", "status").stdout.splitlines()
    assert agent.process is not None
    assert lines[0].startswith(f"The agent for default runs as pid {agent.process.pid}, version ")
    assert lines[1] == "Command lines: 0 now, 1 in all. Passphrases in memory: 0."
    assert lines[2:] == ["No connection."]
    said = json.loads(penstock(agent, "-o", "json", "agent").stdout)
    schema = schema_of("agent")
    assert mistakes(said, schema, schema) == []
    assert said["served"] == 1
    penstock(agent, "agent", "stop")
    none = json.loads(penstock(agent, "agent", "-o", "json").stdout)
    assert none == {"name": "default", "pid": 0}
    assert mistakes(none, schema, schema) == []


def test_one_that_stands_still_is_named(place: AgentPlace) -> None:
    """With what can be done about it, because a timeout alone says neither which process it is."""
    with socket.socket(socket.AF_UNIX) as silent:
        place.socket.parent.mkdir(mode=0o700)
        silent.bind(str(place.socket))
        silent.listen()
        with pytest.raises(TimeoutError, match=rf"\(pid {os.getpid()}\).*kill -KILL"):
            probe(place.address, "status", 0.05)


def test_a_second_one_in_the_foreground_says_why_not(agent: AgentPlace) -> None:
    done = subprocess.run(
        [*MODULE, "run"],
        env={"PATH": os.environ["PATH"]} | agent.environment(),
        capture_output=True,
        text=True,
        timeout=patient(20),
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"Error: another agent listens on {agent.socket}\n"
    none = penstock(agent, "agent", "run", XDG_RUNTIME_DIR="")
    assert (none.returncode, "XDG_RUNTIME_DIR is not set" in none.stderr) == (1, True)
    none = penstock(agent, "-o", "json", "agent", XDG_RUNTIME_DIR="")
    error = json.loads(none.stderr)["error"]
    assert (error["reason"], error["exit_status"], none.returncode) == ("SYSTEM", 1, 1)
