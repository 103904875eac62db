"""What a reload says: settings that it takes up or not, mistakes, files that would lock out."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from killing import until_served
from lists import AUTHORITIES
from reloading import reload, reloaded
from restarts import connected_again, kill_server
from running import RunningServer, policy_text, running_server, script

from penstock.client import connect
from penstock.operate import control_client
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, HandshakeFailed, RpcError

CLIENTS = '[clients.alice]\ncommands = ["idle"]\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(script("idle", "sleep 300"), CLIENTS)) as server:
        yield server


@pytest.fixture
def config(server: RunningServer) -> Iterator[Path]:
    """Its file; as before afterwards."""
    path = server.directory / "penstockd.toml"
    text = path.read_text()
    yield path
    path.write_text(text)


def change(config: Path, top: str, tls: str = "") -> None:
    """Lines for the top, and for ``[tls]``."""
    config.write_text(top + config.read_text().replace("[tls]\n", f"[tls]\n{tls}"))


def change_back(config: Path) -> None:
    """The first line."""
    config.write_text(config.read_text().partition("\n")[2])


def events(audit: Path) -> list[str]:
    return [json.loads(line)["event"] for line in audit.read_text().splitlines()]


def elsewhere(config: Path) -> None:
    """Another group for its jobs, which takes a restart."""
    text = config.read_text()
    parent = next(line for line in text.splitlines() if line.startswith("cgroup_parent"))
    config.write_text(text.replace(parent, 'cgroup_parent = "/elsewhere"'))


async def test_a_setting_is_taken_up_or_what_it_takes_is_said(
    server: RunningServer, config: Path
) -> None:
    """``crl`` was added, and ends the connection of whom it names; what cannot change while
    penstockd runs stays, and is named, in the log and in the audit line."""
    before = await reloaded(server, True)
    assert before["changes"] == []
    crl = server.pki.write_crl("alice")
    elsewhere(config)
    change(config, "max_jobs = 7\nreflection = true\n", f'crl = "{crl}"\n')
    async with connect(server.endpoint("alice")) as alice:
        line = await reloaded(server, True)
        with pytest.raises((RpcError, ConnectionLost)):
            await alice.server_info()
    assert line["connections_ended"] == 1
    assert (line["before"], line["asked_by"]) == (before["after"], "SIGHUP")
    said = line["changes"]
    assert f'[tls] crl: is now "{crl}"; it was not set' in said
    assert "max_jobs: is now 7; it was 512" in said
    assert any(each.startswith("reflection: is true from the next server on") for each in said)
    (stays,) = [each for each in said if each.startswith("cgroup_parent: needs a restart")]
    await server.logged(stays)
    server.pki.write_crl()
    await reloaded(server, True)  # she is back for those that follow


async def test_files_with_mistakes_change_nothing(server: RunningServer, config: Path) -> None:
    """Each is named with its file and line, those of the policy in the same pass."""
    policy = server.directory / "policy.toml"
    before = policy.read_text()
    try:
        policy.write_text(before.replace('commands = ["idle"]', 'commands = ["nothing"]'))
        change(config, "nonsense = 1\n")
        message = await reload(server, False)
        assert f"{config}:1: nonsense: unknown key" in message
        assert f"{policy}:" in message
        assert "clients.alice.commands: there is no command 'nothing'" in message
    finally:
        policy.write_text(before)


async def test_a_planned_restart_needs_no_file_on_the_disk(
    server: RunningServer, config: Path
) -> None:
    """SIGUSR2 goes ahead with what is in force, and what is wrong with the files is said."""
    change(config, "nonsense = 1\n")
    policy = server.directory / "policy.toml"
    text = policy.read_text()
    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("idle")
    before = server.server_pid()
    policy.write_text(f"folly = 2\n{text}")
    try:
        server.process.send_signal(signal.SIGUSR2)
        for file, wrong in ((config, "nonsense: unknown"), (policy, "folly: unknown")):
            said = f"mistakes, and are not taken: {file}:1: {wrong}"
            await server.logged(f"SIGUSR2: the files on the disk have {said}")
        await until_served(server, before)
        async with connected_again(server, "alice") as alice:
            again = (await alice.status(job.handle)).job
            assert (again.state, again.os_pid) == (pb.JOB_STATE_RUNNING, job.os_pid)
            await alice.stop(job.handle, grace_s=0)
    finally:
        policy.write_text(text)


async def test_an_audit_log_elsewhere_counts_with_the_next_server(
    server: RunningServer, config: Path
) -> None:
    """Where only root may write penstockd makes it, as at a start; otherwise no server could begin,
    and the jobs would end for want of one."""
    audit = server.directory / "certs" / "audit.jsonl"
    change(config, f'audit_log = "{audit}"\n')
    said = (await reloaded(server, True))["changes"]
    assert any(each.startswith(f'audit_log: is "{audit}" from the next server on') for each in said)
    await kill_server(server)
    async with connected_again(server, "alice") as alice:
        await alice.server_info()
    assert "server.started" in events(audit)
    change_back(config)
    answer = await trio.to_thread.run_sync(
        control_client.ask, str(server.directory / "run" / "control.sock"), "reload"
    )
    assert answer.ok
    await kill_server(server)
    async with connected_again(server, "alice"):
        pass


async def test_nobody_who_is_connected_is_locked_out(server: RunningServer, config: Path) -> None:
    """A leaf in the CA's place: refused while somebody is connected who got in before, unless the
    configuration says that this may be: then who is connected goes out, too."""
    pki = server.pki
    ca = pki.ca.read_bytes()
    try:
        async with connect(server.endpoint("alice")) as alice:
            pki.ca.write_bytes(AUTHORITIES["a leaf"](pki))
            message = await reload(server, False)
            assert "no client that is connected would get in: [tls] client_ca: " in message
            assert "(CN=alice); if that is meant, write allow_lockout = true" in message
            pki.ca.write_bytes(ca)
            async with connect(server.endpoint("bob")):
                pass
            pki.ca.write_bytes(AUTHORITIES["a leaf"](pki))
            change(config, "allow_lockout = true\n")
            line = await reloaded(server, True)
            assert line["tried"] >= 1
            assert line["connections_ended"] >= 1
            with pytest.raises((RpcError, ConnectionLost)):
                await alice.server_info()
            pki.ca.write_bytes(ca)
            with pytest.raises(HandshakeFailed):
                async with connect(server.endpoint("alice")):
                    pass
            await server.logged("warning: allow_lockout: no client")
    finally:
        pki.ca.write_bytes(ca)


async def test_with_nobody_connected_it_is_said_that_nothing_was_tried(
    server: RunningServer,
) -> None:
    """And accepted: there is nobody to lose."""
    while (line := await reloaded(server, True))["tried"]:  # a connection of before still ends
        pass
    assert line["connections_ended"] == 0
    await server.logged("no client is connected, so whether")
