"""Files that are not what their key wants: named with file, line, key and remedy, whatever they
are; and places that a check must not accept, because the server could not use them."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checked_place import IS_ROOT, SERVER_UID, Place, checked_place

from penstock.operate.full_check import check_files
from penstock.operate.verb_table import call_verb
from penstock.policy.mistakes import FileMistake

as_root = pytest.mark.skipif(not IS_ROOT, reason="needs another user for the server")


@pytest.fixture
def place() -> Iterator[Place]:
    with checked_place() as found:
        yield found


def mistakes(place: Place) -> list[FileMistake]:
    return check_files(str(place.config))[1].mistakes


def key_line(place: Place, key: str) -> int:
    lines = place.config.read_text().splitlines()
    (found,) = (n for n, line in enumerate(lines, 1) if line.startswith(f"{key} = "))
    return found


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def huge_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


ODD: dict[str, Callable[[Path], object]] = {
    "a directory": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a socket": a_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "nothing": lambda path: None,
    "a link to nothing": lambda path: path.symlink_to("/no/such/file"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a huge file": huge_file,
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("key", ["policy", "client_ca"])
def test_what_is_no_file_is_named_with_the_key_that_names_it(
    place: Place, key: str, kind: str
) -> None:
    path = place.directory / "odd"
    ODD[kind](path)
    place.set(key, json.dumps(str(path)))
    found = [each for each in mistakes(place) if each.file == str(place.config)]
    assert {each.key.removeprefix("tls.") for each in found} == {key}
    assert {each.line for each in found} == {key_line(place, key)}
    assert all(each.remedy for each in found)
    assert any(str(path) in each.what for each in found)


@pytest.mark.parametrize("kind", ODD)
def test_a_configuration_that_is_no_file_is_named(place: Place, kind: str) -> None:
    place.config.unlink()
    ODD[kind](place.config)
    (found,) = [each for each in mistakes(place) if "written by others" not in each.text]
    assert found.file == str(place.config)
    assert found.what
    assert found.remedy


@pytest.mark.parametrize(
    ("key", "data", "what"),
    [
        ("certificate", b"", "is empty, and a certificate is needed"),
        ("certificate", b"\x01" * 99, "is not in PEM form"),
        ("certificate", None, "is a key, and a certificate is needed"),
        ("key", b"-----BEGIN PRIVATE KEY-----\nMII", "is cut off or damaged"),
        ("client_ca", b"no certificate", "is not in PEM form"),
        ("client_ca", None, "is a key, and a certificate is needed"),
    ],
)
def test_a_file_that_tls_cannot_read_is_named(
    place: Place, key: str, data: bytes | None, what: str
) -> None:
    """OpenSSL does not say which of the files it could not read, nor what the file is."""
    path = place.directory / "odd.pem"
    path.write_bytes(place.pki.server.key.read_bytes() if data is None else data)
    path.chmod(0o600)
    if IS_ROOT:
        os.chown(path, SERVER_UID, SERVER_UID)
    place.set(key, json.dumps(str(path)))
    (found,) = mistakes(place)
    assert (found.key, found.line) == (f"tls.{key}", key_line(place, key))
    assert what in found.what
    assert str(path) in found.remedy


@pytest.mark.parametrize("key", ["state_dir", "run_dir", "work_root", "supervisor_dir"])
def test_a_path_that_is_too_long_to_be_made_is_refused(place: Place, key: str) -> None:
    if key == "supervisor_dir" and not IS_ROOT:
        pytest.skip("is used by root alone")
    place.set(key, json.dumps(f"{place.directory}/{'a' * 256}"))
    (found,) = mistakes(place)
    assert (found.key, found.line) == (key, key_line(place, key))
    assert "too long" in found.what


@as_root
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o200])
def test_an_audit_log_that_the_server_cannot_write_is_refused(place: Place, mode: int) -> None:
    log = place.directory / "audit.jsonl"
    log.touch(mode)
    log.chmod(mode)
    place.set("audit_log", json.dumps(str(log)))
    owner = 0 if mode == 0o600 else SERVER_UID
    os.chown(log, owner, owner)
    (found,) = mistakes(place)
    assert (found.key, found.line) == ("audit_log", key_line(place, "audit_log"))
    assert "the server cannot write" in found.what
    log.chmod(0o600)
    os.chown(log, SERVER_UID, SERVER_UID)
    assert not mistakes(place)


def test_an_audit_log_that_is_a_link_is_refused(place: Place) -> None:
    """The server opens it with O_NOFOLLOW."""
    log = place.directory / "real.jsonl"
    log.touch(0o600)
    if IS_ROOT:
        os.chown(log, SERVER_UID, SERVER_UID)
    (place.directory / "link").symlink_to(log)
    place.set("audit_log", json.dumps(str(place.directory / "link")))
    (found,) = mistakes(place)
    assert found.key == "audit_log"
    assert "no regular file" in found.what


@as_root
@pytest.mark.parametrize("key", ["state_dir", "run_dir", "audit_log"])
def test_a_place_where_the_server_cannot_go_is_refused(place: Place, key: str) -> None:
    """Made by root behind a directory of root's alone, it would be out of the server's reach."""
    closed = place.directory / "closed"
    closed.mkdir(mode=0o700)
    place.set(key, json.dumps(str(closed / "below")))
    (found,) = mistakes(place)
    assert (found.key, found.line) == (key, key_line(place, key))
    assert str(closed) in found.what
    closed.chmod(0o711)
    assert not mistakes(place)


def test_a_newline_in_a_path_makes_no_second_line(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = f"{place.directory}/a\n\u2028\x1b[2J"
    place.set("certificate", json.dumps(odd))
    assert [each.key for each in mistakes(place)] == ["tls.certificate"]
    assert call_verb(["check", "--config", str(place.config)]) == 2
    (line,) = (x for x in capsys.readouterr().err.split("\n") if "No such file" in x)
    assert r"a\n\u2028\x1b[2J: No such file" in line
