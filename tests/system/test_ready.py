"""The line of the log that says ready, for those who wait for it before they call."""

import time

import pytest
import trio
from patience import patient
from restarts import kill_server
from running import RunningServer, policy_text, running_server, script
from supervisor_process import IS_ROOT, running_supervisor, shell

from penstock.proto import command_pb2 as pb
from penstock.rpc import health
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.channel import open_channel
from penstock.rpc.tls.contexts import client_ssl_context

COMMANDS = script("idle", "sleep 300")
CLIENTS = '[clients.alice]\ncommands = ["idle"]\n'


async def test_it_comes_once_when_the_server_takes_calls() -> None:
    """After the line about listening; a server that follows another does not repeat it."""
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        deadline = time.monotonic() + patient(20)
        while not said(server.log_lines, "ready; cgroups"):
            assert time.monotonic() < deadline, server.log_lines
            await trio.sleep(0.01)  # a thread takes the lines
        lines = list(server.log_lines)
        listening = next(at for at, line in enumerate(lines) if "listening on" in line)
        ready = next(at for at, line in enumerate(lines) if "ready; cgroups" in line)
        assert listening < ready
        assert f"; configuration {server.directory}/penstockd.toml; policy " in lines[ready]
        await health_answers_whom_no_policy_names(server)
        await kill_server(server)
        while said(server.log_lines, "listening on") < 2:
            assert time.monotonic() < deadline, server.log_lines
            await trio.sleep(0.01)
        assert said(server.log_lines, "ready; cgroups") == 1


async def health_answers_whom_no_policy_names(server: RunningServer) -> None:
    """A monitor needs a certificate of the CA, and no entry; it gets nothing else."""
    pair = server.pki.clients["carol"]
    context = client_ssl_context(pair.certificate, pair.key, server.pki.ca)
    async with open_channel("127.0.0.1", server.port, context) as channel:
        request = health.HealthCheckRequest(service="teleport.CommandService")
        kind = health.HealthCheckResponse
        answer = await channel.unary(health.SERVICE, "Check", request, kind)
        assert answer.status == health.SERVING
        ours, info = "teleport.CommandService", pb.ServerInfoRequest()
        with pytest.raises(RpcError) as caught:
            await channel.unary(ours, "ServerInfo", info, pb.ServerInfoResponse)
        assert caught.value.code is StatusCode.UNAUTHENTICATED


def said(lines: list[str], text: str) -> int:
    return len([line for line in lines if text in line])


def test_it_does_not_come_where_the_server_cannot_use_its_files() -> None:
    """The first server says what is wrong, each mistake with its line, and penstockd ends at once:
    nobody waits for it, and nobody is told to call."""
    command = shell("idle", "sleep 300", root=IS_ROOT)
    with running_supervisor(command, arguments=()) as supervisor:
        supervisor.expected_exit = 2
        assert supervisor.process.wait(patient(20)) == 2
        log, config = supervisor.log, supervisor.directory / "penstockd.toml"
        lines = config.read_text().splitlines()
        for key, path in (("certificate", "/c"), ("key", "/k"), ("client_ca", "/a")):
            line = lines.index(f'{key} = "{path}"') + 1
            assert f"{config}:{line}: [tls] {key}: {path}: No such file or directory; " in log
        assert "ready" not in log
        assert "starting it again" not in log
