"""What SIGHUP does not do, and says: settings that it does not read, files that would lock out."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from lists import AUTHORITIES
from patience import patient
from reloading import reload, reloaded
from running import RunningServer, policy_text, running_server, script

from penstock.client import connect
from penstock.rpc.call_errors import HandshakeFailed

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


async def test_a_setting_that_is_not_read_is_said(server: RunningServer, config: Path) -> None:
    """``crl`` was added, so the revoked client is still inside, and the log says why."""
    assert "not_read" not in await reloaded(server, True)
    crl = server.pki.write_crl("alice")
    change(config, "max_jobs = 7\n", f'crl = "{crl}"\n')
    async with connect(server.endpoint("alice")) as alice:
        line = await reloaded(server, True)
        await alice.server_info()
    first, second = sorted(line["not_read"])
    assert first == (
        f"[tls] crl was not set, is '{crl}', and was not read: SIGUSR2 to penstockd starts the "
        "server anew with it, and jobs run on"
    )
    assert second.startswith("max_jobs was 512, is 7, and was not read: it takes a restart")
    await server.logged(f"WARNING SIGHUP: {first}")


async def test_a_file_of_settings_that_cannot_be_used_is_said(
    server: RunningServer, config: Path
) -> None:
    """The certificates are read all the same. So is a policy that has changed."""
    policy = server.directory / "policy.toml"
    before = policy.read_text()
    policy.write_text(before + "# changed\n")
    (line,) = (await reloaded(server, True))["not_read"]
    assert line.startswith(f"policy: {policy} has changed and was not read: it takes a restart")
    policy.write_text(before)
    change(config, "nonsense = 1\n")
    lines = (await reloaded(server, True))["not_read"]
    assert any(f"{config} was not read: nonsense: unknown key" in each for each in lines)


async def test_no_server_is_ended_for_one_that_could_not_start(
    server: RunningServer, config: Path
) -> None:
    """SIGUSR2 is refused, with every mistake, and whoever is connected stays so."""
    async with connect(server.endpoint("alice")) as alice:
        for top, word in (("nonsense = 1\n", "nonsense: unknown"), ("[\n", "not TOML")):
            change(config, top)
            server.process.send_signal(signal.SIGUSR2)
            with trio.fail_after(patient(10)):
                while not any(  # noqa: ASYNC110
                    "SIGUSR2: no, as the next server could not start" in line and word in line
                    for line in server.log_lines
                ):
                    await trio.sleep(0.02)
        await alice.server_info()


async def test_nobody_who_is_connected_is_locked_out(server: RunningServer, config: Path) -> None:
    """A leaf in the CA's place: refused while somebody is connected who got in before, unless the
    configuration says that this may be."""
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
            assert (await reloaded(server, True))["tried"] >= 1
            await alice.server_info()
            pki.ca.write_bytes(ca)
            with pytest.raises(HandshakeFailed):
                async with connect(server.endpoint("alice")):
                    pass
            await server.logged("WARNING allow_lockout: no client")
    finally:
        pki.ca.write_bytes(ca)


async def test_with_nobody_connected_it_is_said_that_nothing_was_tried(
    server: RunningServer,
) -> None:
    """And accepted: there is nobody to lose."""
    while (line := await reloaded(server, True))["tried"]:  # a connection of before still ends
        pass
    assert line["connections_ended"] == 0
    await server.logged("nobody is connected, so whether")
