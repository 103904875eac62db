"""Where to connect, and which exit status an error has."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from patience import patient

from penstock.cli.connection_settings import endpoint_of
from penstock.cli.exits import exit_code, job_code, start_code
from penstock.cli.failures import Exit
from penstock.cli.flags import Settings, SettingsError
from penstock.pki.certificate_errors import CertificateError
from penstock.pki.issue import issue, make_ca
from penstock.pki.key_mode import KeyModeError, check_private_key_mode
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, RpcError, StatusCode
from penstock.rpc.tls.contexts import client_ssl_context, server_ssl_context

ENVIRONMENT = {
    "PENSTOCK_ADDR": "example.org:9000",
    "PENSTOCK_CA": "/e/ca.crt",
    "PENSTOCK_CERT": "/e/a.crt",
    "PENSTOCK_KEY": "/e/a.key",
}


def test_flags_come_before_the_environment() -> None:
    """Each value by itself."""
    endpoint = endpoint_of(Settings(address="[::1]:7", key="/f/b.key"), ENVIRONMENT)
    assert (endpoint.host, endpoint.port) == ("::1", 7)
    assert (str(endpoint.key), str(endpoint.ca)) == ("/f/b.key", "/e/ca.crt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host", ("host", 8443)),
        ("host:1", ("host", 1)),
        ("127.0.0.1:65535", ("127.0.0.1", 65535)),
        ("[::1]:80", ("::1", 80)),
        ("::1", ("::1", 8443)),
        ("[::1]", ("::1", 8443)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    """With and without port, IPv6 in brackets."""
    endpoint = endpoint_of(Settings(address=text), ENVIRONMENT)
    assert (endpoint.host, endpoint.port) == expected


@pytest.mark.parametrize("text", ["host:", "host:0", "host:65536", "host:x", ":1"])
def test_bad_addresses_are_explained(text: str) -> None:
    """The error shows what was given and how it should look."""
    with pytest.raises(SettingsError, match="host:port"):
        endpoint_of(Settings(address=text), ENVIRONMENT)


def test_a_pin_that_is_empty_pins_nothing_and_is_refused() -> None:
    """As of a script whose variable is not set. In the environment what is empty is not set."""
    with pytest.raises(SettingsError, match="--server-fingerprint is empty"):
        endpoint_of(Settings(server_fingerprint=""), ENVIRONMENT)
    empty = {"PENSTOCK_SERVER_FINGERPRINT": ""}
    assert endpoint_of(Settings(), ENVIRONMENT | empty).server_fingerprint is None


def test_everything_that_is_missing_is_named_at_once() -> None:
    """Flags and variables, in one message."""
    with pytest.raises(SettingsError) as caught:
        endpoint_of(Settings(address="host"), {})
    for name in ("--ca", "PENSTOCK_CA", "--cert", "PENSTOCK_KEY"):
        assert name in str(caught.value)
    assert "--addr" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RpcError(StatusCode.INVALID_ARGUMENT), 2),
        (ConnectionLost("gone"), 3),
        (RpcError(StatusCode.UNAVAILABLE), 3),
        (RpcError(StatusCode.NOT_FOUND), 4),
        (RpcError(StatusCode.PERMISSION_DENIED), 5),
        (RpcError(StatusCode.UNAUTHENTICATED), 5),
        (RpcError(StatusCode.ALREADY_EXISTS), 6),
        (RpcError(StatusCode.FAILED_PRECONDITION), 6),
        (RpcError(StatusCode.RESOURCE_EXHAUSTED), 7),
        (RpcError(StatusCode.DEADLINE_EXCEEDED), 124),
        (RpcError(StatusCode.INTERNAL), 1),
        (KeyModeError("key"), 2),
    ],
)
def test_exit_codes_of_control_verbs(error: Exception, code: int) -> None:
    """The documented table."""
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (pb.EndRecord(reason="exited", exit_code=3), 3),
        (pb.EndRecord(reason="signaled", signal=11), 139),
        (pb.EndRecord(reason="stopped", signal=15), 143),
        (pb.EndRecord(reason="stopped", exit_code=0), 0),
        (pb.EndRecord(reason="timed_out", signal=15), 124),
        (pb.EndRecord(reason="lost"), 125),
    ],
)
def test_exit_codes_passed_through(end: pb.EndRecord, code: int) -> None:
    """The job's own, or what a shell would say."""
    assert job_code(end) == code


def test_a_start_that_failed_is_126_or_125() -> None:
    """As a shell says it of a command that it may not execute."""
    assert start_code(RpcError(StatusCode.PERMISSION_DENIED)) == 126
    assert start_code(ConnectionLost("gone")) == 125


def penstock(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock.cli", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )


def test_usage_errors_are_exit_2_on_stderr() -> None:
    """No traceback, whatever was wrong."""
    for arguments in (["nonsense"], ["stream"], ["status", "1"], ["-o", "xml", "list"]):
        done = penstock(*arguments)
        assert (done.returncode, done.stdout) == (
            2,
            "" if arguments[0] != "status" else done.stdout,
        )
        assert done.stderr
        assert "Traceback" not in done.stderr


def test_help_lists_the_verbs() -> None:
    """And costs no import of the transport."""
    done = penstock("--help")
    assert done.returncode == 0
    for verb in ("start", "stop", "status", "stream", "list", "run", "wait", "certs", "version"):
        assert f"\n  {verb} " in done.stdout


def test_certificates_are_made_once_with_private_keys(tmp_path: Path) -> None:
    """Keys 0600, contexts load them, a second issue overwrites nothing."""
    make_ca(tmp_path)
    issue(tmp_path, "server", server_names=["localhost", "127.0.0.1"])
    issue(tmp_path, "alice")
    for name in ("ca", "server", "alice"):
        assert stat.S_IMODE((tmp_path / f"{name}.key").stat().st_mode) == 0o600
    ca = tmp_path / "ca.crt"
    server_ssl_context(tmp_path / "server.crt", tmp_path / "server.key", ca)
    client_ssl_context(tmp_path / "alice.crt", tmp_path / "alice.key", ca)
    before = (tmp_path / "alice.key").read_bytes()
    with pytest.raises(CertificateError, match=r"alice\.crt is there already"):
        issue(tmp_path, "alice")
    assert (tmp_path / "alice.key").read_bytes() == before


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path) -> None:
    """AES-256; without a terminal nobody is asked."""
    make_ca(tmp_path)
    issue(tmp_path, "alice", passphrase=b"secret")
    key = tmp_path / "alice.key"
    assert b"ENCRYPTED" in key.read_bytes()
    with pytest.raises(OSError, match="encrypted"):
        client_ssl_context(tmp_path / "alice.crt", key, tmp_path / "ca.crt")
    client_ssl_context(tmp_path / "alice.crt", key, tmp_path / "ca.crt", b"secret")
    environment = ENVIRONMENT | {"PENSTOCK_KEY": str(key)}
    done = penstock("list", **environment)
    assert done.returncode == 2
    assert "PENSTOCK_KEY_PASSPHRASE" in done.stderr
    assert (
        endpoint_of(Settings(), environment | {"PENSTOCK_KEY_PASSPHRASE": "secret"}).passphrase
        == b"secret"
    )


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """With the command that mends it."""
    key = tmp_path / "a.key"
    key.touch(0o640)
    with pytest.raises(KeyModeError, match=f"chmod 600 {key}"):
        check_private_key_mode(key)
    key.chmod(0o600)
    check_private_key_mode(key)


def test_exit_is_an_integer() -> None:
    """So that it can be handed to the system."""
    assert int(Exit.DEADLINE) == 124
