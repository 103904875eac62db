"""SIGHUP to the real penstockd: certificates and the revocation list are read again."""

import dataclasses
import datetime
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from lists import LISTS
from patience import patient
from pki import HOUR
from reloading import reload
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.operate import control_client
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import HandshakeFailed, RpcError, StatusCode

COMMANDS = script("idle", "echo ready; sleep 300", grace="200ms")
CLIENTS = "".join(f'[clients.{name}]\ncommands = ["idle"]\n' for name in ("alice", "bob"))


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS), crl=True) as server:
        yield server


async def test_a_revoked_client_loses_its_streams_and_keeps_its_job(server: RunningServer) -> None:
    """C16: within a second UNAUTHENTICATED, and no way back; others notice nothing."""
    async with connect(server.endpoint("alice")) as alice, connect(server.endpoint("bob")) as bob:
        job = await alice.start("idle")
        server.pki.write_crl("alice")
        took: list[float] = []

        async def stream() -> None:
            async with alice.stream(job.handle) as messages:
                async for message in messages:
                    if message.data:
                        await reload(server, True)
                        took.append(trio.current_time())

        with pytest.raises(RpcError) as caught:
            await stream()
        assert caught.value.code is StatusCode.UNAUTHENTICATED
        assert caught.value.message == "the certificate was revoked"
        assert trio.current_time() - took[0] < 1
        with pytest.raises(HandshakeFailed) as refused:
            async with connect(server.endpoint("alice")):
                pass
        assert "was revoked: have another one issued" in refused.value.__notes__[0]
        assert isinstance(await bob.start("idle"), pb.Job)
    server.pki.write_crl()
    await reload(server, True)
    async with connect(server.endpoint("alice")) as alice:
        (found,) = await alice.jobs()
        assert found.handle == job.handle
        await alice.stop(job.handle)


async def test_a_removed_control_socket_comes_back(server: RunningServer) -> None:
    """SIGHUP is what is left to an operator whose penstockd cannot be asked any more, and then it
    can; the server that runs stays."""
    path = server.directory / "run" / "control.sock"
    before = control_client.status(str(path)).fields["server_pid"]
    path.unlink()
    await reload(server, True)
    assert control_client.status(str(path)).fields["server_pid"] == before


async def test_a_bad_reload_changes_nothing(server: RunningServer) -> None:
    """Row 6: every mistake is named, the old certificate stays, connections too."""
    async with connect(server.endpoint("alice")) as alice:
        certificate = server.pki.server.certificate.read_bytes()
        server.pki.server.certificate.write_text("no certificate")
        server.pki.server.key.chmod(0o644)
        server.pki.write_crl("alice", days=-1)
        message = await reload(server, False)
        assert "[tls] key" in message
        assert "out of date" in message
        assert ": [tls] certificate: " in message
        await alice.server_info()
        async with connect(server.endpoint("alice")) as again:
            await again.server_info()
        server.pki.server.certificate.write_bytes(certificate)
        server.pki.server.key.chmod(0o600)
        server.pki.write_crl()
        await reload(server, True)
        async with connect(server.endpoint("alice")) as again:
            await again.server_info()


async def test_a_file_that_no_reader_understands_changes_nothing(server: RunningServer) -> None:
    """A CA on an unknown curve, a list of the future, an expired certificate: the old ones stay,
    and the jobs with them."""
    pki = server.pki
    kept = {path: path.read_bytes() for path in (pki.ca, pki.server.certificate, pki.server.key)}
    odd = pki.directory / "odd.crt"
    for words in (
        ["ecparam", "-genkey", "-name", "prime239v1", "-out", str(odd) + ".key"],
        ["req", "-x509", "-new", "-key", f"{odd}.key", "-subj", "/CN=odd", "-out", str(odd)],
    ):
        await trio.run_process(["openssl", *words], capture_stdout=True, capture_stderr=True)
    old = pki.authority.issue(
        "old",
        "penstock",
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
        not_before=-2 * HOUR,
        not_after=-HOUR,
    )
    pid = server.server_pid()
    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("idle")
        pki.ca.write_bytes(odd.read_bytes() + kept[pki.ca])
        assert "no list of the CA 'CN=odd'" in await reload(server, False)
        pki.ca.write_bytes(kept[pki.ca])
        pki.write_crl(since=HOUR)
        assert "is valid only from" in await reload(server, False)
        for name in ("unknown critical extension", "for CA certificates only"):
            (pki.directory / "crl.pem").write_bytes(LISTS[name](pki))
            message = await reload(server, False)
            assert "[tls] crl: " in message
            assert "no client that is connected would get in" in message
        pki.write_crl()
        pki.server.certificate.write_bytes(old.certificate.read_bytes())
        pki.server.key.write_bytes(old.key.read_bytes())
        assert "has expired" in await reload(server, False)
        for path, text in kept.items():
            path.write_bytes(text)
        await reload(server, True)
        async with connect(server.endpoint("bob")) as bob:
            await bob.server_info()
        await alice.stop(job.handle)
    assert server.server_pid() == pid


async def test_a_fifo_in_the_place_of_a_file_stops_nothing(server: RunningServer) -> None:
    """Of any kind: nobody writes to it, and whoever opened it would wait for ever."""
    pki, pid = server.pki, server.server_pid()
    crl = pki.write_crl()
    async with connect(server.endpoint("alice")) as alice:
        for path in (pki.ca, pki.server.certificate, pki.server.key, crl):
            kept = path.with_suffix(".kept")
            path.rename(kept)
            os.mkfifo(path)
            os.chown(path, *_owner(kept))
            path.chmod(0o600 if path == pki.server.key else 0o644)
            assert f"{path}: is a FIFO" in await reload(server, False)
            await alice.server_info()
            kept.rename(path)
        await reload(server, True)
    assert server.server_pid() == pid


async def test_a_certificate_that_openssl_alone_can_read(server: RunningServer) -> None:
    """UNAUTHENTICATED with a line of audit; a reload ends such a connection and nothing else."""
    server.pki.authority.disguise(server.pki.clients["carol"])
    pid = server.server_pid()
    async with connect(server.endpoint("carol")) as carol:
        with pytest.raises(RpcError) as caught:
            await carol.server_info()
        assert caught.value.code is StatusCode.UNAUTHENTICATED
        (line,) = [line for line in server.audit() if line["event"] == "unauthenticated"]
        assert "cannot be read" in line["message"]
        await reload(server, True)
    assert server.server_pid() == pid


@pytest.mark.slow
async def test_a_certificate_that_expires_ends_its_streams(server: RunningServer) -> None:
    """Within a second of its end UNAUTHENTICATED; the job runs on, and a new one comes in."""
    short = server.pki.authority.issue("short", "alice", not_after=datetime.timedelta(seconds=3))
    end = x509.load_pem_x509_certificate(short.certificate.read_bytes()).not_valid_after_utc
    endpoint = dataclasses.replace(
        server.endpoint("alice"), certificate=short.certificate, key=short.key
    )
    async with connect(server.endpoint("alice")) as lasting:
        async with connect(endpoint) as alice:
            job = await alice.start("idle")

            async def stream() -> None:
                async with alice.stream(job.handle) as messages:
                    async for _ in messages:
                        pass

            with trio.fail_after(patient(10)):
                with pytest.raises(RpcError) as caught:
                    await stream()
                late = datetime.datetime.now(datetime.UTC) - end
        assert caught.value.code is StatusCode.UNAUTHENTICATED
        assert caught.value.message == "the certificate has expired"
        assert datetime.timedelta(0) <= late < datetime.timedelta(seconds=1)
        with pytest.raises(HandshakeFailed):
            async with connect(endpoint):
                pass
        await lasting.stop(job.handle)
    assert [line for line in server.audit() if line["event"] == "tls.expired"]


async def test_a_rotated_audit_log_is_opened_anew(server: RunningServer) -> None:
    """Moved away, then SIGHUP: what comes next is in a new file, and none is lost."""
    path = server.directory / "state" / "audit.jsonl"
    path.rename(path.with_suffix(".1"))
    async with connect(server.endpoint("alice")) as alice:
        await _refused(alice)
        assert '"verb":"status"' in path.with_suffix(".1").read_text().splitlines()[-1]
        path.touch(0o600)  # as logrotate makes it
        os.chown(path, *_owner(path.with_suffix(".1")))
        await reload(server, True)
        await _refused(alice)
    assert [line["event"] for line in server.audit()] == ["reload", "decision"]


async def _refused(client: Client) -> None:
    """Which is always a line of its own, where reads become counts."""
    with pytest.raises(RpcError):
        await client.status("1")


def _owner(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid
