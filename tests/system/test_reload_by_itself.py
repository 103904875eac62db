"""``reload = "auto"`` on a real penstockd: certificates that another program renews come in."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from patience import patient
from running import RunningServer, policy_text, running_server, script

from penstock.client import connect

CLIENTS = '[clients.alice]\ncommands = ["idle"]\n'


@pytest.fixture
def server() -> Iterator[RunningServer]:
    text = policy_text(script("idle", "sleep 300"), CLIENTS)
    with running_server(text, reload="auto") as server:
        yield server


@pytest.mark.slow
async def test_a_certificate_that_is_renewed_comes_in(server: RunningServer) -> None:
    """First the one file, then the other, some seconds later: nothing is refused between, and the
    jobs and connections of before stay."""
    pki = server.pki
    names = tuple(
        x509.load_pem_x509_certificate(pki.server.certificate.read_bytes())
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    new = pki.authority.issue(
        "renewed", "penstock", usage=ExtendedKeyUsageOID.SERVER_AUTH, names=names
    )
    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("idle")
        put(new.certificate, pki.server.certificate)
        with trio.move_on_after(14):  # no synchronisation: for so long nothing may be wrong
            await server.logged("not reloaded")
        put(new.key, pki.server.key)
        await server.logged('reloaded for reload = "auto"')
        await alice.stop(job.handle, grace_s=0)
    serial = x509.load_pem_x509_certificate(new.certificate.read_bytes()).serial_number
    assert await trio.to_thread.run_sync(served, server.port) == serial
    events = [line["event"] for line in server.audit()]
    assert (events.count("reload"), events.count("reload.refused")) == (1, 0)
    assert not any("does not fit" in line for line in server.log_lines)


def put(source: Path, target: Path) -> None:
    """As programs do that renew: a new file in the place of the old one, of the same user."""
    status = target.stat()
    beside = target.with_suffix(".new")
    beside.write_bytes(source.read_bytes())
    beside.chmod(status.st_mode & 0o777)
    os.chown(beside, status.st_uid, status.st_gid)
    beside.rename(target)


def served(port: int) -> int:
    """The serial number of the certificate that new connections see."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=patient(10))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number
