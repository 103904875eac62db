"""What users get wrong ends in one line that says what, where, and what to do."""

import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from fake_service import HANDLE, Done, FakeServer, FakeService, fake_server, finished
from pki import Pair

from penstock.cli.connection_settings import endpoint_of
from penstock.cli.exits import message
from penstock.cli.flags import Settings, SettingsError
from penstock.client import Endpoint, connect
from penstock.pki.issue import issue, make_ca
from penstock.rpc.call_errors import HandshakeFailed


def one_line(done: Done, code: int) -> str:
    """The error's text."""
    text = done.err.decode()
    assert done.code == code, text
    assert text.startswith("Error: "), text
    assert text.count("\n") == 1, text
    return text


@asynccontextmanager
async def server_with_streams() -> AsyncIterator[FakeServer]:
    service = FakeService()
    service.messages = [finished()]
    async with fake_server(service) as server:
        yield server


@pytest.mark.parametrize("verb", ["start", "status", "stop", "run", "wait", "stream"])
async def test_arguments_that_are_not_utf_8(verb: str) -> None:
    """Usage, with the bytes shown; 125 where a job's status is passed through."""
    async with fake_server() as server:
        done = await server.run_cli(verb, b"a\xffb")
    assert done.code == (125 if verb in ("run", "wait") else 2)
    assert b"'a\\xffb' is not UTF-8" in done.err
    assert b"Traceback" not in done.err
    assert server.service.starts == []


async def test_arguments_of_the_job_and_reasons_too() -> None:
    """Every text that is sent."""
    async with fake_server() as server:
        for words in ("start", "ls"), ("stop", "1", "--reason"):
            done = await server.run_cli(*words, b"\xff")
            assert done.code == 2
            assert b"is not UTF-8" in done.err


@pytest.mark.parametrize("offset", [str(2**64), "9" * 5000, "-1", "x"])
async def test_offsets_that_no_stream_can_have(offset: str) -> None:
    """Refused here: the protocol cannot carry them."""
    async with server_with_streams() as server:
        done = await server.run_cli("stream", "--offset", offset, HANDLE)
        assert done.code == 2
        assert b"Invalid value for '--offset'" in done.err
        done = await server.run_cli("stream", "--exit-code", "--offset", offset, HANDLE)
        assert done.code == 125
        done = await server.run_cli("stream", "--offset", str(2**64 - 1), HANDLE)
        assert done.code == 0


@pytest.mark.parametrize(
    "host",
    [
        "a..b",
        ".a",
        "x" * 64,
        "x." * 127 + "x",
        "a b",
        "ä.org",
        "a\x1bb",
        "[::1",
        "::g",
        "a/b",
        "1\u00b2",
    ],
)
@pytest.mark.parametrize("suffix", ["", ":8443"])
def test_odd_host_names_are_explained(host: str, suffix: str) -> None:
    """Not by an exception out of the resolver or of TLS."""
    with pytest.raises(SettingsError, match="is no address; write host:port"):
        endpoint_of(Settings(address=host + suffix, ca="c", certificate="c", key="k"), {})


@pytest.mark.parametrize("port", ["\u00b2", "9" * 5000, "+1", "1_0", " 1"])
def test_odd_ports_are_explained(port: str) -> None:
    """int() takes more than a port, and less."""
    with pytest.raises(SettingsError, match="is no address"):
        endpoint_of(Settings(address=f"host:{port}", ca="c", certificate="c", key="k"), {})


async def test_an_odd_host_name_is_one_line() -> None:
    """Of a real process, bytes that are no text included."""
    async with fake_server() as server:
        for host in (b"a..b", b"\xff", b"x" * 300):
            one_line(await server.run_cli("--addr", host, "start", "ls"), 2)


@pytest.mark.slow
async def test_missing_settings_are_125_where_a_status_is_passed_through() -> None:
    """2 could be the job's own."""
    nowhere = {"PENSTOCK_ADDR": ""}
    async with fake_server() as server:
        for arguments, code in (
            (["list"], 2),
            (["stream", HANDLE], 2),
            (["stream", "--exit-code", HANDLE], 125),
            (["run", "ls"], 125),
            (["wait", HANDLE], 125),
            (["run"], 125),
            (["wait", "--nonsense", HANDLE], 125),
            (["stream", "--exit-code"], 125),
        ):
            done = await server.run_cli(*arguments, environment=nowhere)
            assert done.code == code, arguments
            assert b"Traceback" not in done.err


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """alice and bob under a CA, alice's key encrypted too, and an empty and a rubbish file."""
    make_ca(tmp_path)
    issue(tmp_path, "alice")
    issue(tmp_path, "bob")
    issue(tmp_path, "locked", passphrase=b"secret")
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "rubbish").write_bytes(b"\xff\x00rubbish")
    (tmp_path / "rubbish").chmod(0o600)
    (tmp_path / "wrong").write_text("wrong\n")
    (tmp_path / "long").write_text("x" * 2000)
    (tmp_path / "open").write_text("secret\n")
    for name, mode in (("wrong", 0o600), ("long", 0o600), ("open", 0o640)):
        (tmp_path / name).chmod(mode)
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"CA": "gone"}, ["gone (--ca): No such file", "PENSTOCK_CA"]),
        ({"CERT": "gone"}, ["gone (--cert): No such file", "PENSTOCK_CERT"]),
        ({"KEY": "gone"}, ["gone (--key): No such file", "PENSTOCK_KEY"]),
        ({"CA": "."}, [" (--ca): Is a directory"]),
        ({"CA": "empty"}, ["empty (--ca) has no CA certificate", "nothing in PEM form"]),
        ({"CA": "rubbish"}, ["rubbish (--ca) has no CA certificate"]),
        ({"CA": "alice.key"}, ["alice.key (--ca)", "it holds: private key", "in PEM"]),
        ({"CERT": "alice.key"}, ["alice.key (--cert) has no certificate", "private key"]),
        ({"CERT": "empty"}, ["empty (--cert) has no certificate"]),
        ({"KEY": "rubbish"}, ["rubbish (--key) has no private key"]),
        ({"KEY": "bob.key"}, ["bob.key (--key) is not the key of", "alice.crt (--cert)"]),
        ({"KEY": "locked.key"}, ["locked.key is encrypted", "--key-passphrase-file"]),
        (
            {"CERT": "locked.crt", "KEY": "locked.key", "KEY_PASSPHRASE_FILE": "wrong"},
            ["the passphrase does not open", "locked.key (--key)", "--key-passphrase-file"],
        ),
        (
            {"CERT": "locked.crt", "KEY": "locked.key", "KEY_PASSPHRASE_FILE": "long"},
            ["the passphrase of", "locked.key (--key) is 2000 bytes"],
        ),
        (
            {"CERT": "locked.crt", "KEY": "locked.key", "KEY_PASSPHRASE_FILE": "gone"},
            ["gone (PENSTOCK_KEY_PASSPHRASE_FILE): No such file"],
        ),
        (
            {"CERT": "locked.crt", "KEY": "locked.key", "KEY_PASSPHRASE_FILE": "empty"},
            ["empty (PENSTOCK_KEY_PASSPHRASE_FILE) is empty"],
        ),
        (
            {"CERT": "locked.crt", "KEY": "locked.key", "KEY_PASSPHRASE_FILE": "open"},
            ["open (PENSTOCK_KEY_PASSPHRASE_FILE) can be read or written by others", "chmod 600"],
        ),
    ],
)
async def test_a_mistaken_file_is_named_with_its_flag(
    files: Path, changes: dict[str, str], texts: list[str]
) -> None:
    """Whatever is in it instead; exit 2."""
    names = {"CA": "ca.crt", "CERT": "alice.crt", "KEY": "alice.key"} | changes
    environment = {f"PENSTOCK_{key}": str(files / name) for key, name in names.items()}
    async with fake_server() as server:
        text = one_line(await server.run_cli("list", environment=environment), 2)
    for part in texts:
        assert part in text


async def test_a_damaged_key_is_named(files: Path) -> None:
    """It has the right first line alone."""
    (files / "alice.key").write_text(
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    )
    environment = {"PENSTOCK_KEY": str(files / "alice.key")}
    async with fake_server() as server:
        text = one_line(await server.run_cli("list", environment=environment), 2)
    assert "alice.key (--key) is damaged" in text


async def test_a_passphrase_may_be_any_bytes(files: Path) -> None:
    """Also such as are no text, from the environment."""
    issue(files, "odd", passphrase=b"\xff\xfe")
    settings = Settings(address="h", ca="c", certificate="c", key=str(files / "odd.key"))
    for name, value in (
        ("PENSTOCK_KEY_PASSPHRASE", os.fsdecode(b"\xff\xfe")),
        ("PENSTOCK_KEY_PASSPHRASE", "\udcff\udcfe"),
    ):
        passphrase = endpoint_of(settings, {name: value}).passphrase
        key = (files / "odd.key").read_bytes()
        serialization.load_pem_private_key(key, passphrase)


async def test_a_refused_handshake_says_which_file_to_look_at() -> None:
    """The server's certificate, its name, and ours."""
    async with fake_server() as server:
        pki = server.pki
        other = {"PENSTOCK_CA": str(pki.other_authority.certificate)}
        text = one_line(await server.run_cli("list", environment=other), 3)
        assert f"{pki.other_authority.certificate} (--ca): give the CA of this server" in text
        pair = pki.clients["alice"]
        endpoint = Endpoint("127.0.0.1", server.port, pki.ca, pair.certificate, pair.key)
        with pytest.raises(HandshakeFailed) as caught:
            async with connect(dataclasses.replace(endpoint, server_name="elsewhere.org")):
                pass
        assert "it is not for elsewhere.org: give a name that is in it" in message(caught.value)
        for pair, part in (
            (pki.other_client, "(--cert): it must be of a CA that it trusts"),
            (pki.expired_client, "(--cert) ended on "),
        ):
            text = one_line(await server.run_cli("list", environment=ours(pair)), 3)
            assert f"{pair.certificate} {part}" in text


def ours(pair: Pair) -> dict[str, str]:
    return {"PENSTOCK_CERT": str(pair.certificate), "PENSTOCK_KEY": str(pair.key)}
