"""A CA's directory: what it has issued, by several commands at once and by ones that are killed."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from penstock.pki import ca_directory
from penstock.pki.ca_directory import changing, read_entries
from penstock.pki.certificate_errors import CertificateError, NameRefused
from penstock.pki.certificate_index import IssuedEntry, read_index, written_index
from penstock.pki.contents import hosts_in, serial_of, uris_in
from penstock.pki.crl import load_crl
from penstock.pki.issue import issue, make_ca, renew
from penstock.pki.revocation import revoke, write_list
from penstock.pki.signing import key_pem


class Killed(BaseException):
    """What a process that is killed would have run no further."""


class Counting:
    """``os``, of which the n-th call that changes a disk, and each after it, fails."""

    CHANGES = frozenset(("open", "rename", "fsync", "fchmod"))

    def __init__(
        self, last: int, error: BaseException | None = None, changes: frozenset[str] = CHANGES
    ) -> None:
        self.left = last
        self.error = error or Killed()
        self.changes = changes

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if name not in self.changes:
            return found

        def counted(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left <= 0:
                raise self.error
            return found(*arguments, **options)

        return counted


def killed_at_each_step(work: Callable[[], object]) -> Iterator[int]:
    """Runs the work once for each of its steps, and is killed at that step as it yields."""
    for step in range(1, 100):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(ca_directory, "os", Counting(step))
            try:
                work()
            except Killed:
                killed = True
            else:
                killed = False
        if not killed:
            assert step > 8  # it has as many
            return
        yield step


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def fits(directory: Path, stem: str) -> bool:
    """Whether both files are whole, and a pair."""
    key = serialization.load_pem_private_key((directory / f"{stem}.key").read_bytes(), None)
    return key.public_key() == read(directory / f"{stem}.crt").public_key()


def serials(directory: Path, name: str) -> list[str]:
    return [each.serial for each in read_entries(directory) if each.name == name]


def assert_tidy(directory: Path) -> None:
    assert [path.name for path in directory.iterdir() if path.name.startswith(".new")] == []


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    make_ca(tmp_path)
    return tmp_path


def test_a_command_that_is_killed_has_issued_all_or_nothing(tmp_path: Path) -> None:
    """At whichever step: what stands there is whole, and the next command leaves no trace of it."""
    outcomes = set()
    places = [tmp_path / "0"]
    make_ca(places[0])
    for _ in killed_at_each_step(lambda: issue(places[-1], "alice")):
        directory = places[-1]
        with changing(directory):
            pass
        issued = bool(serials(directory, "alice"))
        outcomes.add(issued)
        assert_tidy(directory)
        if issued:
            assert serials(directory, "alice") == [serial_of(read(directory / "alice.crt"))]
            assert fits(directory, "alice")
        else:
            assert not list(directory.glob("alice*"))
            issue(directory, "alice")
        places.append(tmp_path / str(len(places)))
        make_ca(places[-1])
    assert outcomes == {True, False}


@pytest.mark.parametrize("new_key", [False, True])
def test_a_renewal_that_is_killed(ca: Path, new_key: bool) -> None:
    """With its key as it is, the pair fits at each moment; with another one, after the next
    command. The index knows what is there."""
    issue(ca, "alice")
    before = read(ca / "alice.crt")
    for _ in killed_at_each_step(lambda: renew(ca, "alice", new_key=new_key)):
        if not new_key:
            assert fits(ca, "alice")
        with changing(ca):
            pass
        assert fits(ca, "alice")
        assert serial_of(read(ca / "alice.crt")) in serials(ca, "alice")
        assert_tidy(ca)
    assert read(ca / "alice.crt") != before
    assert (read(ca / "alice.crt").public_key() == before.public_key()) != new_key


def test_a_revocation_that_is_killed_is_there_as_soon_as_the_index_says_so(ca: Path) -> None:
    """Then the next list has it; and the list that is there is whole."""
    write_list(ca)
    issue(ca, "mallory")
    for _ in killed_at_each_step(lambda: revoke(ca, "mallory")):
        load_crl(str(ca / "crl.pem"), str(ca / "ca.crt"))
        (entry,) = [each for each in read_entries(ca) if each.name == "mallory"]
        if entry.revoked:
            assert write_list(ca).count == 1
            break
    assert len(load_crl(str(ca / "crl.pem"), str(ca / "ca.crt")).revoked) == 1


def test_a_ca_that_is_killed_is_made_again(tmp_path: Path) -> None:
    """As if nothing had been, or there is the whole one."""
    for _ in killed_at_each_step(lambda: make_ca(tmp_path)):
        with changing(tmp_path):
            pass
        if (tmp_path / "ca.crt").exists():
            break
        assert not (tmp_path / "ca.key").exists()
    assert fits(tmp_path, "ca")
    assert issue(tmp_path, "alice").certificate.exists()


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_full_disk_leaves_no_key(ca: Path, failing: int) -> None:
    """At the key, the certificate or the index: nothing is issued, and nothing lies there."""
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ca_directory, "os", Counting(failing, full, frozenset(("fsync",))))
        with pytest.raises(CertificateError, match="No space left on device"):
            issue(ca, "alice")
    assert_tidy(ca)
    assert not list(ca.glob("alice*"))
    assert serials(ca, "alice") == []
    issue(ca, "alice")


def test_several_commands_at_once(ca: Path) -> None:
    """Each is in the index, and none has written over another one."""
    errors: list[BaseException] = []

    def some(number: int) -> None:
        try:
            for name in range(3):
                issue(ca, f"c{number}-{name}")
            issue(ca, "wanted-by-all")
        except CertificateError as error:
            errors.append(error)

    threads = [threading.Thread(target=some, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 5
    assert all("is there already" in str(error) for error in errors)
    entries = read_entries(ca)
    assert len(entries) == len({each.serial for each in entries}) == 1 + 6 * 3 + 1
    assert all(fits(ca, each.name) for each in entries if each.kind != "ca")


def test_a_directory_that_another_command_holds_is_given_up(
    ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a bound; nothing was made."""
    monkeypatch.setattr(ca_directory, "_WAIT_S", 0.05)
    with changing(ca), pytest.raises(CertificateError, match="by another command, for more than"):
        issue(ca, "alice")
    assert not (ca / "alice.key").exists()


def test_a_directory_of_a_version_that_kept_no_index(ca: Path) -> None:
    """What of its certificates stands there is taken into the index with the next change."""
    issue(ca, "alice")
    issue(ca, "server", server_names=["localhost"])
    (ca / "index.jsonl").unlink()
    (ca / "foreign.crt").write_text("no certificate")
    issue(ca, "bob")
    found = {each.name: each.kind for each in read_entries(ca)}
    assert found == {"penstock CA": "ca", "alice": "client", "server": "server", "bob": "client"}
    assert revoke(ca, "alice").revoked[0].serial == serial_of(read(ca / "alice.crt"))


def test_an_index_that_is_lost_admits_nobody_again(ca: Path) -> None:
    """What was revoked stands in the list that is there, also of what has no file any more."""
    issue(ca, "alice")
    issue(ca, "bob")
    old = revoke(ca, "alice", reason="key-compromise").revoked[0]
    renew(ca, "alice", new_key=True)
    bob = revoke(ca, "bob").revoked[0]
    (ca / "index.jsonl").unlink()
    assert write_list(ca).count == 2
    known = {each.serial: each for each in read_entries(ca)}
    assert known[old.serial].reason == "key-compromise"
    assert known[old.serial].revoked == old.revoked
    assert known[bob.serial].name == "bob"
    assert known[bob.serial].revoked
    revocations = load_crl(str(ca / "crl.pem"), str(ca / "ca.crt"))
    assert revocations.covers(read(ca / "bob.crt").public_bytes(serialization.Encoding.DER))
    (ca / "index.jsonl").unlink()
    (ca / "crl.pem").write_text("no list")
    with pytest.raises(CertificateError, match="only it says what was revoked"):
        write_list(ca)


def test_a_damaged_index_is_named_and_left(ca: Path) -> None:
    """With its line, and nothing is issued that it could not keep."""
    index = ca / "index.jsonl"
    for line in ("{", "[]", '{"serial": 1}', '{"serial": "x"}', '{"serial": "1", "revoked": "x"}'):
        index.write_text(f"{line}\n")
        with pytest.raises(CertificateError, match=r"index\.jsonl line 1 is damaged .* put back"):
            issue(ca, "alice")
        assert index.read_text() == f"{line}\n"
    assert not (ca / "alice.key").exists()


def test_the_index_is_read_as_it_was_written() -> None:
    """Values that a later version adds are passed over."""
    entries = [
        IssuedEntry("1f", "alice", "client", ("a", "b"), "2026-01-01T00:00:00Z", revoked=""),
        IssuedEntry("2f", kind="unlisted", revoked="2026-01-01T00:00:00Z", reason="superseded"),
    ]
    text = written_index(entries)
    assert read_index(text, "f") == entries
    assert read_index(text.replace('"kind"', '"more": {"x": 1}, "kind"'), "f") == entries


def test_a_renewed_one_has_the_same_names_and_the_same_time(ca: Path) -> None:
    """Of clients by both kinds of id, and of a server; also one that has ended."""
    for name, hosts in (("alice", []), ("spiffe://a.b/c", []), ("server", ["h", "10.0.0.1"])):
        first = issue(ca, name, server_names=hosts, hours=5)
        old = read(first.certificate)
        issued = renew(ca, name)
        new = read(issued.certificate)
        assert issued.certificate == first.certificate
        assert (issued.kind, issued.new_key) == ("server" if hosts else "client", False)
        assert new.subject == old.subject
        assert (hosts_in(new), uris_in(new)) == (hosts_in(old), uris_in(old))
        assert new.serial_number != old.serial_number
        lifetimes = [each.not_valid_after_utc - each.not_valid_before_utc for each in (old, new)]
        assert abs(lifetimes[0] - lifetimes[1]).total_seconds() < 5
        long = read(renew(ca, name, days=9).certificate)
        assert (long.not_valid_after_utc - long.not_valid_before_utc).days == 9
        short = read(renew(ca, name, hours=1).certificate)
        assert short.not_valid_after_utc < old.not_valid_after_utc


def test_a_servers_names_can_be_others(ca: Path) -> None:
    """With the same key; a client has none, and what is no name changes nothing."""
    issue(ca, "server", server_names=["localhost"])
    before = read(ca / "server.crt")
    after = read(renew(ca, "server", server_names=["a.example.org", "10.0.0.1"]).certificate)
    assert hosts_in(after) == ["a.example.org", "10.0.0.1"]
    assert after.public_key() == before.public_key()
    with pytest.raises(NameRefused, match="is no name of a server"):
        renew(ca, "server", server_names=["a b"])
    issue(ca, "alice")
    with pytest.raises(CertificateError, match="is a client's, which has no host names"):
        renew(ca, "alice", server_names=["localhost"])
    assert read(ca / "server.crt") == after


def test_what_is_there_already_says_what_it_is(ca: Path) -> None:
    """Because to renew a client's makes no server's."""
    issue(ca, "server")
    with pytest.raises(CertificateError, match="there already; it is a client's, so move the pair"):
        issue(ca, "server", server_names=["localhost"])
    issue(ca, "web", server_names=["localhost"])
    with pytest.raises(CertificateError, match="there already; it is a server's"):
        issue(ca, "web")
    with pytest.raises(CertificateError, match="renew web, with --host NAME for each name"):
        issue(ca, "web", server_names=["a.example.org"])


def test_a_revoked_one_is_renewed_with_another_key_only(ca: Path) -> None:
    issue(ca, "alice")
    revoke(ca, "alice")
    with pytest.raises(CertificateError, match=r"was revoked, so its key may be known.*--new-key"):
        renew(ca, "alice")
    renew(ca, "alice", new_key=True)
    revocations = load_crl(str(ca / "crl.pem"), str(ca / "ca.crt"))
    der = read(ca / "alice.crt").public_bytes(serialization.Encoding.DER)
    assert not revocations.covers(der)


def test_what_cannot_be_renewed(ca: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_ca(other)
    issue(other, "bob")
    (ca / "bob.crt").write_bytes((other / "bob.crt").read_bytes())
    (ca / "odd.crt").write_bytes((ca / "ca.crt").read_bytes())
    for name, text in (
        ("alice", "certs issue alice"),
        ("bob", "is not of the CA in"),
        ("ca", "is the CA's own, which is not renewed"),
        ("odd", "does not say whether it is a server's or a client"),
    ):
        with pytest.raises(CertificateError, match=text):
            renew(ca, name)


@pytest.mark.parametrize("wanted", ["name", "serial", "colons", "unlisted"])
def test_what_is_revoked_and_how_it_is_named(ca: Path, wanted: str) -> None:
    """By name all of that name, by serial number one. A name comes first."""
    first, second = issue(ca, "cafe"), renew(ca, "cafe")
    bob = issue(ca, "bob")
    even = first.serial.rjust(len(first.serial) + len(first.serial) % 2, "0")
    pairs = ":".join(even[at : at + 2] for at in range(0, len(even), 2)).upper()
    text, expected = {
        "name": ("cafe", {first.serial, second.serial}),
        "serial": (f"0x00{bob.serial.upper()}", {bob.serial}),
        "colons": (pairs, {first.serial}),
        "unlisted": ("00:ab", {"ab"}),
    }[wanted]
    if wanted == "unlisted":
        with pytest.raises(CertificateError, match="no certificate with the serial number ab; if"):
            revoke(ca, text)
    written = revoke(ca, text, unlisted=wanted == "unlisted", reason="key-compromise")
    assert {each.serial for each in written.revoked} == expected
    crl = x509.load_pem_x509_crl(written.path.read_bytes())
    assert {format(each.serial_number, "x") for each in crl} == expected
    again = revoke(ca, text)
    assert not again.revoked
    assert {each.serial for each in again.before} == expected
    newer = x509.load_pem_x509_crl(again.path.read_bytes())
    numbers = [
        each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        for each in (crl, newer)
    ]
    assert numbers[0] < numbers[1]


def test_a_ca_with_an_rsa_key_issues_and_revokes(tmp_path: Path) -> None:
    """As openssl makes it: no key usage, no index, and the key is encrypted."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "my CA")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "ca.key").touch(0o600)
    (tmp_path / "ca.key").write_bytes(key_pem(key, b"secret"))
    issued = issue(tmp_path, "alice", ca_passphrase=b"secret")
    assert issued.cut_to_ca
    read(issued.certificate).verify_directly_issued_by(certificate)
    revoke(tmp_path, "alice", ca_passphrase=b"secret")
    assert len(load_crl(str(tmp_path / "crl.pem"), str(tmp_path / "ca.crt")).revoked) == 1
