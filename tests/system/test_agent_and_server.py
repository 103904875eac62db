"""The agent with a real server: whose policy changes, who revokes, and is started again."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
import trio
from agents import AgentPlace, agent_place
from patience import patient
from reloading import reload
from running import RunningServer, policy_text, running_again, running_server, script

COMMANDS = script("idle", "sleep 300", grace="200ms") + script("hello", "echo hello; exit 3")
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
