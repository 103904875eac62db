"""What a real server's answers look like with -o json: as the schemas say, field for field."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from json_schema import mistakes
from patience import patient
from running import RunningServer, policy_text, running_server, script

from penstock.cli.json_schemas import MESSAGES, schema_of

COMMANDS = (
    script("idle", "sleep 300", grace="0s")
    + script("greet", "echo hello; echo problem >&2; exit 3")
    + script("read", "cat").replace("class =", "stdin = true\nclass =")
)
CLIENTS = """
[clients.alice]
commands = ["idle", "greet", "read"]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def lines(server: RunningServer, verb: str, *words: str, text: str = "") -> list[dict[str, Any]]:
    """What the verb prints, which is as its schema has it."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock.cli", "-o", "json", verb, *words],
        env=server.environment("alice"),
        input=text,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found, done.stderr
    schema = schema_of(verb)
    assert [wrong for each in found for wrong in mistakes(each, schema, schema)] == []
    return found


@pytest.mark.system
def test_every_verbs_answer_is_as_its_schema_says(server: RunningServer) -> None:
    """All of them, of jobs that run, are paused, have ended and are gone."""
    tried = {}

    def told(verb: str, *words: str, text: str = "") -> dict[str, Any]:
        tried[verb] = lines(server, verb, *words, text=text)
        return tried[verb][0]

    idle = told("start", "--name", "sleeper", "--label", "team=db", "idle")
    assert (idle["name"], idle["labels"]) == ("sleeper", {"team": "db"})
    assert told("status", "sleeper")["job"]["handle"] == idle["handle"]
    assert told("pause", "sleeper")["paused"]
    assert "paused" not in told("resume", "sleeper")
    assert told("signal", "sleeper", "CONT")["processes"] == 1
    assert told("kill", "-CONT", "sleeper")["processes"] == 1
    assert told("list", "--label", "team")["handle"] == idle["handle"]
    assert told("top")["job"]["handle"] == idle["handle"]
    assert told("stop", "sleeper")["job"]["end"]["reason"] == "stopped"
    assert told("rm", "sleeper")["handle"] == idle["handle"]

    reader = told("start", "--stdin", "read")["handle"]
    assert told("send", reader, text="hello\n") == {"accepted": "6", "eof": True}
    assert told("wait", reader)["end"]["exit_code"] == 0
    assert told("attach", reader)["job"]["handle"] == reader
    assert told("stream", reader)["job"]["handle"] == reader
    assert "finished" in tried["stream"][-1]
    told("run", "greet")
    assert tried["run"][-1]["finished"]["exit_code"] == 3
    assert told("version")["client_id"] == told("whoami")["client_id"] == "alice"
    assert [each["name"] for each in lines(server, "commands")] == sorted(["idle", "greet", "read"])
    # Those that end only when they are told to have a test of their own (tests/cli).
    assert set(tried) | {"commands", "watch"} == set(MESSAGES)
