"""The agent with a real server: whose policy changes, who revokes, is killed and started again;
with a certificate that is renewed, and with many front ends at once."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import trio
from agents import AgentPlace, agent_place, until
from patience import patient
from reloading import reload
from running import RunningServer, policy_text, running_again, running_server, script

COMMANDS = (
    script("idle", "sleep 300", grace="200ms")
    + script("hello", "echo hello; exit 3")
    # Ends as its input does; says a line for each.
    + script("lines", "while read -r line; do echo $line; done; exit 4").replace(
        "grace", "stdin = true\ngrace"
    )
    + script("much", "yes 0123456789abcde | head -c 4000000; sleep 300", grace="200ms")
)
CLIENTS = '[clients.alice]\ncommands = ["hello"]\n'


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS), crl=True) as server:
        yield server


@pytest.fixture
def agent() -> Iterator[AgentPlace]:
    with agent_place() as place:
        place.begin()
        yield place


def penstock(
    agent: AgentPlace, server: RunningServer, *words: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [agent.program, *words],
        env={"PATH": os.environ["PATH"]} | server.environment("alice") | agent.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )


async def test_what_is_granted_is_decided_by_the_server_each_time(
    agent: AgentPlace, server: RunningServer
) -> None:
    """Its next server has another policy; a revoked certificate has no connection any more."""
    assert penstock(agent, server, "commands", "-q").stdout == "hello\n"
    done = penstock(agent, server, "run", "hello")
    assert (done.returncode, done.stdout) == (3, "hello\n")
    assert penstock(agent, server, "run", "idle").returncode == 126
    policy = server.directory / "policy.toml"
    policy.write_text(policy.read_text().replace('commands = ["hello"]', 'commands = ["idle"]'))
    server.process.send_signal(signal.SIGTERM)
    await trio.to_thread.run_sync(server.process.wait, patient(20))
    with running_again(server):
        assert penstock(agent, server, "commands", "-q").stdout == "idle\n"
        assert penstock(agent, server, "run", "hello").returncode == 126
        server.pki.write_crl("alice")
        await reload(server, True)
        refused = penstock(agent, server, "list")
        assert refused.returncode == 3
        assert "was revoked" in refused.stderr
        server.pki.write_crl()
        await reload(server, True)
        assert penstock(agent, server, "list").returncode == 0
        assert agent.state()["served"] == 7


@contextmanager
def streaming(
    agent: AgentPlace, server: RunningServer, *words: str, stdout: int = subprocess.PIPE
) -> Iterator["subprocess.Popen[str]"]:
    """A front end under way."""
    process = subprocess.Popen(
        [agent.program, *words],
        env={"PATH": os.environ["PATH"]} | server.environment("alice") | agent.environment(),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=patient(20))


def send(agent: AgentPlace, server: RunningServer, handle: str, text: str) -> None:
    """Input of a job, by a front end of its own."""
    subprocess.run(
        [agent.program, "send", "--keep-open", handle],
        env={"PATH": os.environ["PATH"]} | server.environment("alice") | agent.environment(),
        input=text,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=True,
    )


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


ALL = '[clients.alice]\ncommands = ["idle", "lines", "much"]\nstarts_per_minute = 1000\n'


@pytest.fixture
def free() -> Iterator[RunningServer]:
    """One whose client may start all of them."""
    with running_server(policy_text(COMMANDS, ALL)) as server:
        yield server


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_server_that_is_killed_and_started_again(
    agent: AgentPlace, free: RunningServer
) -> None:
    """In the middle of streams, and while nobody asks: no byte is lost, and the agent is the same.
    penstockd's supervisor starts the next server, as after any crash."""
    handle = free.start("alice", "--stdin", "lines")
    words = ("stream", "-q", "--no-timestamps", "--exit-code", handle)
    with streaming(agent, free, *words) as one, streaming(agent, free, *words) as other:
        for number in range(3):
            killed = free.server_pid()
            send(agent, free, handle, f"line {number}\n")
            assert [line_of(each) for each in (one, other)] == [f"line {number}\n"] * 2
            os.kill(killed, signal.SIGKILL)
            with trio.fail_after(patient(20)):
                while not server_is_another_than(free, killed):  # noqa: ASYNC110 - no event
                    await trio.sleep(0.02)
            assert penstock(agent, free, "status", handle).returncode == 0
        assert penstock(agent, free, "send", handle).returncode == 0  # the end
        assert [each.wait(patient(30)) for each in (one, other)] == [4, 4]
        assert [line_of(each) for each in (one, other)] == ["", ""]
    # While it is idle.
    killed = free.server_pid()
    os.kill(killed, signal.SIGKILL)
    assert f"Job {handle} exited with code 4." in penstock(agent, free, "status", handle).stdout
    assert agent.process is not None
    assert agent.state()["pid"] == agent.process.pid
    assert len(agent.state()["connections"]) == 1


def server_is_another_than(server: RunningServer, pid: int) -> bool:
    try:
        return server.server_pid() != pid
    except (AssertionError, OSError):
        return False


async def test_a_certificate_that_is_renewed(agent: AgentPlace, free: RunningServer) -> None:
    """The server sees the new one from the next verb on; what streams goes on with the old one, and
    its connection ends with it."""
    lines = free.start("alice", "--stdin", "lines")
    with streaming(agent, free, "stream", "-q", "--no-timestamps", lines) as stream:
        await until(agent, lambda state: state["running"] == 1)
        old = serial(agent, free)
        free.pki.authority.issue("alice", "alice")  # as `penstock certs renew`, in its place
        for number in range(2):
            assert serial(agent, free) != old
            assert len(agent.state()["connections"]) == 2
            send(agent, free, lines, f"line {number}\n")
            assert line_of(stream) == f"line {number}\n"
        stream.send_signal(signal.SIGINT)
        assert stream.wait(patient(20)) == 130
        await until(agent, lambda state: len(state["connections"]) == 1)
    assert penstock(agent, free, "stop", lines).returncode == 0


def serial(agent: AgentPlace, server: RunningServer) -> str:
    """Of our certificate, as the server has it from a verb's connection."""
    told = json.loads(penstock(agent, server, "-o", "json", "whoami").stdout)
    return str(told["certificate"]["serial"])


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_fifty_at_once_and_three_that_stand_in_the_way(
    agent: AgentPlace, free: RunningServer
) -> None:
    """One front end is stopped, one killed, one behind a full pipe: the others are answered as well
    as before, and what stood in the way has lost nothing when it goes on."""
    much, idle = free.start("alice", "much"), free.start("alice", "idle")
    ours, theirs = os.pipe()

    async def fifty() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                words = ("list", "-q") if number % 2 else ("status", idle)
                nursery.start_soon(one, words)

    async def one(words: tuple[str, ...]) -> None:
        done = await trio.to_thread.run_sync(
            partial(penstock, agent, free, *words), limiter=limiter
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        assert idle in done.stdout

    limiter = trio.CapacityLimiter(50)
    raw = ("stream", "--raw", much)
    with (
        streaming(agent, free, *raw, stdout=theirs) as full,
        streaming(agent, free, *raw) as stopped,
        streaming(agent, free, *raw) as killed,
    ):
        os.close(theirs)
        assert line_of(stopped) == line_of(killed) == "0123456789abcde\n"
        stopped.send_signal(signal.SIGSTOP)
        killed.kill()
        await fifty()
        await until(agent, lambda state: state["running"] == 2)
        assert agent.state()["served"] == 53
        assert full.poll() is stopped.poll() is None
        stopped.send_signal(signal.SIGCONT)

        def read(file: int) -> int:
            size = 0
            while size < 4_000_000 and (piece := os.read(file, 65536)):
                size += len(piece)
            return size

        assert await trio.to_thread.run_sync(read, ours) == 4_000_000
        assert stopped.stdout is not None
        for _ in range(4_000_000 // 16 - 1):
            assert await trio.to_thread.run_sync(line_of, stopped) == "0123456789abcde\n"
    os.close(ours)
    for handle in (much, idle):
        assert penstock(agent, free, "stop", handle).returncode == 0
    await until(agent, lambda state: state["running"] == 0)
