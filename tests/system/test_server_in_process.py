"""penstock.server in the test's own process, over a real supervisor: how it begins and how it ends.

What it does as penstockd's child is in the other files; here coverage sees it.
"""

import datetime
import gc
import json
import logging
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography.x509.oid import ExtendedKeyUsageOID
from pki import shared_pki
from ports import reserved_port
from running import policy_text, script
from this_run import group, new_directory

from penstock.client import Client, Endpoint, connect
from penstock.jobs import standalone
from penstock.jobs.manager import open_manager
from penstock.policy.configuration import Config, parse_config
from penstock.rpc.call_errors import ConnectionLost, RpcError
from penstock.server import main
from penstock.server.hangups import Hangups
from penstock.server.main import ServerStartError
from penstock.supervisor.client_listeners import bound

pytestmark = pytest.mark.system

COMMANDS = script("greet", "echo hello") + script("idle", "sleep 300")
CLIENTS = """
[clients.alice]
commands = ["greet", "idle"]
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that jobs of other users can come through."""
    directory = new_directory("in-process")
    (directory / "state").mkdir(mode=0o700)
    (directory / "policy.toml").write_text(policy_text(COMMANDS, CLIENTS))
    yield directory
    shutil.rmtree(directory)


def config_text(place: Path, port: int, more: str = "", **tls: Path) -> str:
    pki = shared_pki()
    files = {"certificate": pki.server.certificate, "key": pki.server.key, "client_ca": pki.ca}
    values = {
        "listen": f"127.0.0.1:{port}",
        "policy": str(place / "policy.toml"),
        "state_dir": str(place / "state"),
        "work_root": str(place / "work"),
        "run_dir": str(place / "run"),
        "cgroup_parent": group("in-process"),
    }
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    lines += [more, "[tls]\n"]
    lines += [f"{key} = {json.dumps(str(path))}\n" for key, path in (files | tls).items()]
    return "".join(lines)


class Told(logging.Handler):
    """The server's log, in whose words it says that it listens, drains, ends."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self._more = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._more.set()
        self._more = trio.Event()

    async def wait(self, text: str) -> None:
        while not any(text in line for line in self.lines):
            await self._more.wait()


@dataclass
class Running:
    place: Path
    config: Config
    supervisor: trio.Process
    told: Told
    ended: trio.Event = field(default_factory=trio.Event)
    stop: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Cancels the server from outside."""

    @asynccontextmanager
    async def alice(self) -> AsyncIterator[Client]:
        pki = shared_pki()
        pair = pki.clients["alice"]
        port = self.config.listen[0].port
        endpoint = Endpoint("127.0.0.1", port, pki.ca, pair.certificate, pair.key)
        async with connect(endpoint) as client:
            yield client

    def events(self, name: str) -> list[dict[str, Any]]:
        """The audit log's lines of this kind."""
        lines = (self.place / "state" / "audit.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["event"] == name]


@asynccontextmanager
async def running(
    place: Path, more: str = "", tls: Mapping[str, Path] | None = None
) -> AsyncIterator[Running]:
    """A server that listens; it has to have ended by itself when the block does."""
    told = Told()
    log = logging.getLogger("penstock.server")
    log.addHandler(told)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        with reserved_port() as port:
            text = config_text(place, port, more, **(tls or {}))
            (place / "config.toml").write_text(text)
            async with (
                standalone._supervisor(str(place / "config.toml")) as process,
                trio.open_nursery() as nursery,
            ):
                made = Running(place, parse_config(text.encode()), process, told)

                async def serve(task_status: trio.TaskStatus[None]) -> None:
                    task_status.started()
                    with made.stop:
                        await main.run(
                            made.config.run_dir,
                            [bound(made.config.listen[0])],
                            str(place / "config.toml"),
                        )
                    made.ended.set()

                await nursery.start(serve)
                await told.wait("listening on 127.0.0.1")
                yield made
                await made.ended.wait()
    finally:
        log.removeHandler(told)
        log.setLevel(level)


async def test_a_drain_ends_calls_then_the_jobs_then_the_server(place: Path) -> None:
    """C11, C12: one signal; a stream has until the time is up, its job is stopped, all recorded."""
    async with running(place, "drain_s = 0.2\n") as made, made.alice() as client:
        greeted = await client.start("greet")
        assert (await client.wait(greeted.handle)).end.exit_code == 0
        async with client.stream(greeted.handle) as call:
            assert b"".join([message.data async for message in call]) == b"hello\n"
        assert (await client.server_info()).client_id == "alice"
        idle = await client.start("idle")
        async with client.stream(idle.handle) as call:
            messages = aiter(call)
            assert (await anext(messages)).job.handle == idle.handle
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises((RpcError, ConnectionLost)):
                await anext(messages)
        await made.ended.wait()
    assert len(made.events("server.started")) == len(made.events("server.stopping")) == 1
    ended = {line["handle"]: line["reason"] for line in made.events("job.finished")}
    assert ended == {greeted.handle: "exited", idle.handle: "stopped"}


@pytest.mark.slow
async def test_a_second_signal_does_not_wait_for_calls(place: Path) -> None:
    """C12, C31: an hour to drain is over at once; jobs are stopped as after a drain.

    SIGUSR2 is no second signal: whether jobs are left was said by the first one.
    """
    async with running(place, "drain_s = 3600\n") as made, made.alice() as client:
        idle = await client.start("idle")
        async with client.stream(idle.handle) as call:
            messages = aiter(call)
            await anext(messages)
            signal.raise_signal(signal.SIGTERM)
            await made.told.wait("SIGTERM: draining for at most 3600 s")
            signal.raise_signal(signal.SIGUSR2)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert not made.ended.is_set()
            signal.raise_signal(signal.SIGINT)
            with pytest.raises((RpcError, ConnectionLost)):
                await anext(messages)
        await made.ended.wait()
    assert "second signal: ending at once" in made.told.lines
    assert [line["reason"] for line in made.events("job.finished")] == ["stopped"]


@pytest.mark.slow
async def test_after_sigusr2_no_job_is_stopped(place: Path) -> None:
    """C13, C13b: they are left to the next server: no end of them is recorded. A start that comes
    as the server begins to drain is served like any other, or it was not begun and says so."""
    handles, refused = set[str](), list[RpcError]()
    async with running(place) as made, made.alice() as client:
        handles.add((await client.start("idle")).handle)

        async def start() -> None:
            try:
                handles.add((await client.start("idle")).handle)
            except RpcError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for number in range(6):
                if number == 3:
                    signal.raise_signal(signal.SIGUSR2)
                nursery.start_soon(start)
        await made.ended.wait()
    assert [error for error in refused if not error.not_begun] == []
    assert made.events("job.finished") == []
    assert {line["handle"] for line in made.events("job.running")} == handles


@pytest.mark.slow
async def test_a_sigterm_after_sigusr2_stops_the_jobs_after_all(place: Path) -> None:
    """C31: penstockd is to end, so no next server will come for them; it is a second signal, too,
    and waits for no call."""
    async with running(place, "drain_s = 3600\n") as made, made.alice() as client:
        idle = await client.start("idle")
        async with client.stream(idle.handle) as call:
            messages = aiter(call)
            await anext(messages)
            signal.raise_signal(signal.SIGUSR2)
            await made.told.wait("SIGUSR2: draining for at most 3600 s")
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises((RpcError, ConnectionLost)):
                await anext(messages)
        await made.ended.wait()
    assert "second signal: ending at once" in made.told.lines
    (ended,) = made.events("job.finished")
    assert (ended["handle"], ended["reason"]) == (idle.handle, "stopped")


async def test_a_signal_that_comes_before_it_serves_is_heard_then(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C31: while it takes jobs over, say. It drains at once, and ends in order."""

    @asynccontextmanager
    async def opening(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
        signal.raise_signal(signal.SIGTERM)
        async with open_manager(*arguments, **options) as manager:
            yield manager

    monkeypatch.setattr("penstock.server.main.open_manager", opening)
    async with running(place, "drain_s = 3600\n") as made:
        await made.ended.wait()
    assert made.told.lines.index("SIGTERM: draining for at most 3600 s") >= 0
    assert len(made.events("server.started")) == len(made.events("server.stopping")) == 1


async def test_cancelled_it_leaves_its_jobs_to_the_next(place: Path) -> None:
    """Nobody has asked for their end; clients see the connection break."""
    async with running(place, "drain_s = 3600\n") as made, made.alice() as client:
        idle = await client.start("idle")
        async with client.stream(idle.handle) as call:
            messages = aiter(call)
            await anext(messages)
            made.stop.cancel()
            with pytest.raises(ConnectionLost):
                await anext(messages)
        await made.ended.wait()
    assert made.events("job.finished") == made.events("server.stopping") == []


@pytest.mark.slow
async def test_with_the_supervisor_gone_the_server_ends(place: Path) -> None:
    """C14: no job is left, and each has its end on record: as told by the supervisor, or lost."""
    async with running(place) as made, made.alice() as client:
        idle = await client.start("idle")
        made.supervisor.send_signal(signal.SIGTERM)
        await made.ended.wait()
    assert "the supervisor is gone; its jobs are recorded as lost" in made.told.lines
    (ended,) = made.events("job.finished")
    assert ended["handle"] == idle.handle
    assert ended["reason"] in ("signaled", "lost")
    assert not await trio.Path(f"/proc/{idle.os_pid}").exists()


async def test_certificates_are_read_again_on_sighup(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C16: a list that names the client ends its connection; a bad one changes nothing. So it is
    where the supervisor, of an earlier version, offers no files itself."""

    def of_then(*of: Any, certificates: bool) -> Hangups:
        assert not certificates
        return Hangups(*of, certificates=True)

    monkeypatch.setattr(main, "Hangups", of_then)
    crl = place / "crl.pem"
    authority, clients = shared_pki().authority, shared_pki().clients
    crl.write_bytes(authority.crl(clients["bob"]))
    async with running(place, tls={"crl": crl}) as made, made.alice() as client:
        idle = await client.start("idle")
        crl.write_text("nonsense")
        signal.raise_signal(signal.SIGHUP)
        await made.told.wait("not reloaded, the old certificates stay")
        assert (await client.status(idle.handle)).job.handle == idle.handle
        crl.write_bytes(authority.crl(clients["alice"]))
        signal.raise_signal(signal.SIGHUP)
        await made.told.wait("1 connections ended, of clients that may not connect now")
        with pytest.raises((RpcError, ConnectionLost)):
            await client.status(idle.handle)
        signal.raise_signal(signal.SIGTERM)
    assert [line["loaded"] for line in made.events("tls.reload")] == [False, True]


@pytest.mark.parametrize(
    ("more", "files", "text"),
    [
        ("", {"key": "/nonexistent"}, "/nonexistent"),
        ("[transport]\nnonsense = 1\n", {}, r"\[transport\] .*nonsense"),
    ],
)
async def test_what_is_wrong_with_the_configuration_is_said(
    place: Path, more: str, files: dict[str, str], text: str
) -> None:
    """By its table, before anything is opened: no audit log is begun."""
    paths = {name: Path(path) for name, path in files.items()}
    config = place / "config.toml"
    config.write_text(config_text(place, 1, more, **paths))
    async with standalone._supervisor(str(config)):
        with pytest.raises(ServerStartError, match=text):
            await main.run(str(place / "run"), [], str(config))
    assert not (place / "state" / "audit.jsonl").exists()


@pytest.fixture
def _unfrozen() -> Iterator[None]:
    """main() takes what there is from the garbage collector for good, and gives threads short
    turns, as in its own process."""
    turn_s = sys.getswitchinterval()
    yield
    gc.unfreeze()
    sys.setswitchinterval(turn_s)


@pytest.mark.usefixtures("_unfrozen")
def test_a_server_that_cannot_start_exits_with_1(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every mistake on a line; each error on one, however deep in a nursery it was."""
    path = place / "config.toml"
    path.write_text("nonsense = 1\n")
    assert main.main(["--config", str(path)]) == 1
    assert "nonsense" in caplog.text
    caplog.clear()
    path.write_text(config_text(place, 1))
    assert main.main(["--config", str(path)]) == 1
    assert "no socket to listen on was handed over; start penstockd instead" in caplog.text
    assert sys.getswitchinterval() <= 0.001  # beside a reload's thread every call waits for turns
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setattr(main, "received_sockets", lambda environ: [listening])
        assert main.main(["--config", str(path)]) == 1
    assert f"no supervisor on {place}/run/supervisor.sock: No such file" in caplog.text


async def test_an_expired_certificate_is_said_and_keeps_nothing_from_running(place: Path) -> None:
    """No client can connect, which is worth a loud line; the jobs of a restart would run on."""
    pki = shared_pki()
    old = pki.authority.issue(
        "old-server",
        "localhost",
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
        not_before=datetime.timedelta(hours=-2),
        not_after=datetime.timedelta(hours=-1),
    )
    files = {"certificate": old.certificate, "key": old.key}
    async with running(place, tls=files) as made:
        assert any("NO CLIENT CAN CONNECT" in line for line in made.told.lines)
        signal.raise_signal(signal.SIGTERM)
    assert len(made.events("server.stopping")) == 1
