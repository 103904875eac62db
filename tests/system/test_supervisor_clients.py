"""Whose START it is: the supervisor grants a command to the clients that its policy names."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_peer import Peer
from supervisor_process import MODE_AND_SLOW_MODE, Supervisor, command, running_supervisor

from penstock.supervisor.cgroups import group_name

URI = "spiffe://example.org/ci/runner"
CLIENTS = f"""
[clients.alice]
commands = ["true"]
[clients.bob]
commands = ["echo"]
[clients.carol]
commands = ["true"]
verbs = ["status"]
[clients.{json.dumps(URI)}]
commands = ["true"]
[clients.dave]
commands = ["true"]
limits = {{ processes = 8 }}
"""


@pytest.fixture(params=MODE_AND_SLOW_MODE)
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Supervisor, Peer]]:
    root = bool(request.param)
    text = command("true", "/bin/true", root=root) + command("echo", "/bin/echo", root=root)
    with (
        running_supervisor(text, root=root, clients=CLIENTS) as supervisor,
        supervisor.connect() as peer,
    ):
        peer.hello()
        yield supervisor, peer


@pytest.mark.parametrize(
    "client", ["", "nobody", "Alice", "alice\0", "\ud800", "x" * 5000, URI[:-1]]
)
def test_a_client_that_the_policy_does_not_have(
    running: tuple[Supervisor, Peer], client: str
) -> None:
    """A server that was taken over cannot make one up."""
    refused = running[1].refused("true", client=client)
    assert (refused["fault"], refused["stage"]) == ("denied", "check")


def test_a_command_is_granted_to_some_and_not_to_others(running: tuple[Supervisor, Peer]) -> None:
    """By the client's own list and verbs; a refusal is that of a command that is not there, and
    names what is the asker's own alone."""
    peer = running[1]
    for client, name, text in (
        ("alice", "echo", "command 'echo' is not granted to alice; granted: true"),
        ("alice", "none", "command 'none' is not granted to alice; granted: true"),
        ("bob", "true", "command 'true' is not granted to bob; granted: echo"),
        ("carol", "true", "the verb 'start' is not granted to carol"),
        ("carol", "none", "the verb 'start' is not granted to carol"),
    ):
        refused = peer.refused(name, client=client)
        assert (refused["fault"], refused["message"]) == ("denied", text)
    peer.end(peer.start("echo", client="bob"))


def test_each_client_has_its_group(running: tuple[Supervisor, Peer]) -> None:
    """Made for its first job and kept; the name is safe whatever the id is."""
    supervisor, peer = running
    for client in ("alice", URI, "alice"):
        job = peer.start("true", client=client)
        peer.end(job)
    if supervisor.root:
        parent = Path(next(iter(job.message["usage"].values()))).parents[2]
        kept = {path.name for path in parent.iterdir() if path.is_dir()}
        assert kept == {"client-alice", group_name(URI)}


def test_a_clients_limits_are_required_too(running: tuple[Supervisor, Peer]) -> None:
    """Without cgroups nothing holds them, so its jobs do not start; with them they are told."""
    supervisor, peer = running
    if not supervisor.root:
        refused = peer.refused("true", client="dave")
        assert (refused["fault"], refused["stage"]) == ("unenforced", "group")
        assert "client 'dave' requires total limits" in refused["message"]
        return
    job = peer.start("true", client="dave")
    held = {entry["limit"]: entry["state"] for entry in job.message["client_enforcement"]}
    assert job.message["client_limits"]["processes"] == 8
    assert held["processes"] == "enforced"
    peer.end(job)
    free = peer.start("true", client="alice")
    assert free.message["client_enforcement"] == []
    peer.end(free)
