"""Completion against a real server: its policy's commands, their arguments, and jobs by name."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import patient
from running import RunningServer, policy_text, running_server, script

COMMANDS = (
    script("idle", "sleep 300")
    + '[commands.show]\npath = "/bin/echo"\nclass = "free"\n@user\n'
    + 'arguments = [{ optional = [{ literal = "-n" }, { int = { min = 0, max = 9 } }] }, '
    + '{ repeat = { min = 1, max = 2, slot = { enum = ["all of it", "a part"] } } }]\n'
)
CLIENTS = '[clients.alice]\ncommands = ["idle", "show"]\n[clients.bob]\ncommands = ["idle"]\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def offered(server: RunningServer, client: str, cache: Path, *words: str) -> list[str]:
    """As fish asks."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock.cli", "__complete", "fish", "penstock", *words],
        env=server.environment(client) | {"XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=True,
    )
    assert done.stderr == ""
    return [text.partition("\t")[0] for text in done.stdout.split("\0")[1:-1]]


def test_what_a_client_may_run_and_has_run(server: RunningServer, tmp_path: Path) -> None:
    """Each client its own; a value of several words, and what may follow it."""
    assert offered(server, "alice", tmp_path, "start", "") == ["idle", "show"]
    assert offered(server, "bob", tmp_path, "start", "") == ["idle"]
    assert offered(server, "alice", tmp_path, "run", "show", "") == ["-n", "all of it", "a part"]
    assert offered(server, "alice", tmp_path, "run", "show", "-n", "7", "al") == ["all of it"]
    assert offered(server, "alice", tmp_path, "run", "show", "a part", "") == [
        *("all of it", "a part")
    ]
    assert offered(server, "alice", tmp_path, "run", "show", "a part", "a part", "") == []
    started = server.cli("alice", "start", "-q", "--name", "nightly", "idle")
    handle = started.stdout.strip()
    assert offered(server, "alice", tmp_path, "status", "") == ["nightly", handle]
    assert offered(server, "bob", tmp_path, "status", "") == []
    assert server.cli("alice", "stop", "nightly").returncode == 0
