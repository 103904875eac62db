"""Who, may they, how much: the pure decisions in front of every call."""

import contextlib
import datetime
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from pki import shared_pki

from penstock.policy.policy_file import ClientPolicy
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.audit import AuditError, AuditLog
from penstock.server.authn import AuthenticationError, identify
from penstock.server.parse import grace_of, handle_of, spec_of
from penstock.server.rate_limits import COSTLY_BURST, COSTLY_PER_S, QuotaExceeded, Quotas
from penstock.server.refusal_budget import RefusalBudget

KEY = ec.generate_private_key(ec.SECP256R1())
HOUR = datetime.timedelta(hours=1)
CLIENT_USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


def certificate(
    names: list[str], uris: tuple[str, ...] = (), usage: x509.ExtendedKeyUsage | None = CLIENT_USAGE
) -> bytes:
    """A leaf with these common names and URIs; who signs it is TLS's business."""
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(0xABC)
        .not_valid_before(now - HOUR)
        .not_valid_after(now + HOUR)
    )
    if uris:
        general = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    if usage is not None:
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_a_client_is_its_uri_or_its_common_name() -> None:
    """The URI wins; without one the CN names the client."""
    assert identify(certificate(["alice"])).client_id == "alice"
    spiffe = "spiffe://example.org/ci"
    identity = identify(certificate(["alice"], (spiffe,)))
    assert (identity.client_id, identity.serial) == (spiffe, "abc")


@pytest.mark.parametrize(
    "der",
    [
        certificate(["alice"], ("spiffe://a/b", "spiffe://a/c")),
        certificate(["alice"], ("https://a/b",)),
        certificate(["Alice"]),
        certificate([]),
        certificate(["alice\0"]),
        certificate(["аlice"]),  # noqa: RUF001  # a Cyrillic letter: that is the point
        certificate(["alice", "bob"]),
        certificate(["spiffe://a/b"]),
        certificate(["a" * 64]),
        certificate(["alice"], usage=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
        certificate(["alice"], usage=None),
        b"nonsense",
    ],
    ids=[
        *("two URIs", "no spiffe", "upper case", "no name", "NUL", "look-alike", "two names"),
        *("URI as CN", "too long", "server's", "no usage", "no certificate"),
    ],
)
def test_what_names_nobody(der: bytes) -> None:
    """Everything that two readers could understand differently is refused."""
    with pytest.raises(AuthenticationError):
        identify(der)


def test_certificates_without_usage_only_where_they_are_admitted() -> None:
    """As the plain openssl recipe makes them."""
    der = certificate(["alice"], usage=None)
    assert identify(der, legacy_certificates=True).client_id == "alice"
    server = certificate(["alice"], usage=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]))
    with pytest.raises(AuthenticationError):
        identify(server, legacy_certificates=True)


def test_the_test_pki_is_understood() -> None:
    """A certificate as our own CA makes it."""
    pem = shared_pki().clients["alice"].certificate.read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    assert identify(der).client_id == "alice"


def test_quotas_count_and_give_back() -> None:
    """Unfinished jobs, starts a minute, streams; a minute later starts are free again."""
    now = [0.0]
    quotas = Quotas(lambda: now[0])
    client = ClientPolicy("alice", frozenset(), max_running=2, max_streams=1, starts_per_minute=3)
    with pytest.raises(QuotaExceeded):
        quotas.take_start(client, running=2)
    for running in (0, 1, 0):
        quotas.take_start(client, running)
    with pytest.raises(QuotaExceeded) as caught:
        quotas.take_start(client, running=0)
    assert caught.value.retry_after_s == pytest.approx(60)
    now[0] = 60.0
    quotas.take_start(client, running=0)
    quotas.take_stream(client)
    with pytest.raises(QuotaExceeded):
        quotas.take_stream(client)
    quotas.give_stream(client)
    quotas.take_stream(client)


def test_arguments_are_names_then_values() -> None:
    """Empty ones are left out in the old form, and kept in argv."""
    request = pb.StartRequest(command="x")
    for name, value in (("-n", "2"), ("", "a"), ("b", ""), ("", "")):
        request.arguments.add(name=name, value=value)
    assert spec_of(request).arguments == ("-n", "2", "a", "b")
    assert spec_of(pb.StartRequest(command="x", argv=["a", ""])).arguments == ("a", "")
    with pytest.raises(RpcError, match="exclude"):
        spec_of(pb.StartRequest(argv=["a"], arguments=[pb.Argument(name="b")]))


@pytest.mark.parametrize("pid", ["1.2.3", "-1", "0x1", " 1", "1\n", "١", "1" * 99])  # noqa: RUF001
def test_what_is_no_handle_is_not_found(pid: str) -> None:
    """The same answer as for a job that is not there."""
    with pytest.raises(RpcError) as caught:
        handle_of(pid)
    assert caught.value.code is StatusCode.NOT_FOUND


@pytest.mark.parametrize("grace_s", [-1, float("nan"), float("inf"), 1e9])
def test_a_grace_must_be_a_time(grace_s: float) -> None:
    """INVALID_ARGUMENT; unset is the command's own, 0 is at once."""
    with pytest.raises(RpcError):
        grace_of(pb.StopRequest(pid="1", grace_s=grace_s))
    assert grace_of(pb.StopRequest(pid="1")) is None
    assert grace_of(pb.StopRequest(pid="1", grace_s=0)) == 0


@given(event=st.text(), text=st.text())
def test_an_audit_line_is_one_line(
    event: str, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No client text can forge a line or hide one."""
    path = tmp_path_factory.mktemp("audit") / "log"
    log = AuditLog(str(path))
    log.write(event, message=text)
    log.write("next")
    log.close()
    first, second = path.read_bytes().decode("ascii").splitlines()
    assert json.loads(first)["message"] == text
    assert json.loads(second)["event"] == "next"


def test_a_full_audit_disk_is_an_error(tmp_path: Path) -> None:
    """And the file is nobody else's to read."""
    log = AuditLog(str(tmp_path / "log"))
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._fd)
    os.close(full)
    with pytest.raises(AuditError, match="No space left"):
        log.write("event")
    log.close()


def test_the_record_after_a_cut_one_stands_on_its_own(tmp_path: Path) -> None:
    """The disk is full in the middle of a line, and has room again later; also after a restart."""
    path = tmp_path / "log"
    log = AuditLog(str(path))
    log.write("first")
    with _most_bytes(path.stat().st_size + 20):
        for _ in range(2):
            with pytest.raises(AuditError):
                log.write("cut")
    log.write("second")
    log.write("third")
    log.close()
    with path.open("ab") as file:
        file.write(b'{"time":"20')
    log = AuditLog(str(path))
    log.write("fourth")
    log.close()
    events = []
    for line in path.read_text().splitlines():
        try:
            events.append(json.loads(line)["event"])
        except ValueError:
            events.append("damage")
    assert events == ["first", "damage", "second", "third", "damage", "fourth"]


@contextlib.contextmanager
def _most_bytes(count: int) -> Iterator[None]:
    """No file can grow beyond: the write that would is short, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_an_audit_file_that_was_moved_or_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Moved away, it goes on until it is told to open the path anew; removed, it is made again."""
    path, old = tmp_path / "log", tmp_path / "old"
    log = AuditLog(str(path))
    path.rename(old)
    log.write("first")
    log.reopen()
    log.write("second")
    assert (old.read_text().count("\n"), path.read_text().count("\n")) == (1, 1)
    path.unlink()
    assert caplog.messages == []
    log.write("third")
    assert caplog.messages == [f"audit log {path} was removed under the running server"]
    assert json.loads(path.read_text())["event"] == "third"
    path.unlink()
    path.mkdir()
    with pytest.raises(AuditError, match="Is a directory"):
        log.reopen()
    path.rmdir()
    log.write("fourth")
    log.close()


def test_refusals_have_a_bucket_each_up_to_a_number_of_identities() -> None:
    """A minute later there is room again; what was not written is told once."""
    now, told = [0.0], list[tuple[str, int]]()
    refusals = RefusalBudget(lambda: now[0], lambda *what: told.append(what), per_minute=2)
    answers = [refusals.take("a") for _ in range(4)]
    assert answers == [None, None, 60.0, 60.0]
    for number in range(1500):
        refusals.take(f"stranger {number}")
    assert refusals.take("one more") == 60.0
    now[0] = 60.0
    assert refusals.take("a") is None
    assert told == [("a", 2), ("(others)", 476)]
    refusals.close()
    assert len(told) == 2


def test_an_audit_log_is_a_plain_file(tmp_path: Path) -> None:
    """A pipe would block, and what nobody can open cannot be written; nothing stays open."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AuditError, match="is no regular file"):
        AuditLog(str(tmp_path / "pipe"))
    with pytest.raises(AuditError, match="No such file"):
        AuditLog(str(tmp_path / "missing" / "log"))
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError):
        AuditLog(str(tmp_path / "link"))
    assert not (tmp_path / "elsewhere").exists()


def test_signals_are_free_again_a_minute_later() -> None:
    """Each counts for a minute by itself; when the next is free is said."""
    now = [0.0]
    quotas = Quotas(lambda: now[0])
    client = ClientPolicy("alice", frozenset(), signals_per_minute=2)
    quotas.take_signal(client)
    now[0] = 30.0
    quotas.take_signal(client)
    with pytest.raises(QuotaExceeded) as caught:
        quotas.take_signal(client)
    assert caught.value.retry_after_s == pytest.approx(30)
    now[0] = 60.0
    quotas.take_signal(client)
    with pytest.raises(QuotaExceeded):
        quotas.take_signal(client)


def test_starts_have_a_burst_and_a_rate() -> None:
    """Of each client by itself; when the next is free is said."""
    now = [0.0]
    quotas = Quotas(lambda: now[0])
    alice, bob = ClientPolicy("alice", frozenset()), ClientPolicy("bob", frozenset())

    def taken(client: ClientPolicy) -> int:
        count = 0
        with contextlib.suppress(QuotaExceeded):
            while True:
                quotas.take_costly(client)
                count += 1
        return count

    assert taken(alice) == COSTLY_BURST == 100
    assert taken(bob) == COSTLY_BURST
    with pytest.raises(QuotaExceeded) as caught:
        quotas.take_costly(alice)
    assert caught.value.retry_after_s == pytest.approx(1 / COSTLY_PER_S)
    now[0] += caught.value.retry_after_s
    assert taken(alice) == 1
    now[0] += 1.0
    assert taken(alice) == COSTLY_PER_S == 20
    now[0] += 1000.0
    assert taken(alice) == COSTLY_BURST
