"""Certificates of the plain openssl recipe: of version 1, without names, purposes and in encrypted
keys. They work, or the error says what is missing, and how they are made anew."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from answering import Answered, answered
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.wrappers_pb2 import BytesValue
from patience import patient
from pki import shared_pki
from plain_openssl import (
    CA_PASSPHRASE,
    CLIENT_PASSPHRASE,
    SERVER_PASSPHRASE,
    PlainCertificates,
    make_plain,
)
from running import IS_ROOT, SERVER_UID, RunningServer, policy_text, running_server, script
from this_run import new_directory
from toy import serving

from penstock.client import Endpoint, connect
from penstock.policy.configuration import parse_config
from penstock.server.authn import AuthenticationError, identify
from penstock.server.credentials import CredentialsError, load_credentials

COMMANDS = script("true", "exit 0")
CLIENT = '[clients.alice]\ncommands = ["true"]\n'


@pytest.fixture(scope="module")
def made() -> Iterator[PlainCertificates]:
    directory = new_directory("openssl")
    yield make_plain(directory, "localhost", "alice")
    shutil.rmtree(directory)


def configured(directory: Path, **tls: object) -> bytes:
    files = {"certificate": "server.crt", "key": "server.key", "client_ca": "ca.crt"}
    lines = [f'{key} = "{directory / name}"' for key, name in files.items()]
    lines += [f"{key} = {value}" for key, value in tls.items()]
    return "\n".join(['policy = "/p"', "[tls]", *lines]).encode()


def refused(directory: Path, **tls: object) -> str:
    with pytest.raises(CredentialsError) as caught:
        load_credentials(parse_config(configured(directory, **tls)))
    return str(caught.value)


def write_secret(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(f"{text}\n")
    return path


def test_the_server_names_each_line_that_is_missing(made: PlainCertificates) -> None:
    """One after the other, as an operator meets them; then it takes the files."""
    directory = made.directory
    text = refused(directory)
    assert 'write key_passphrase_file = "FILE" under [tls]' in text
    assert "write legacy_certificates = true under [tls], or have it signed anew: printf" in text
    secret = write_secret(directory / "secret", SERVER_PASSPHRASE)
    wrong = write_secret(directory / "wrong", "wrong")
    text = refused(directory, key_passphrase_file=f'"{wrong}"', legacy_certificates="true")
    assert "key_passphrase_file" in text
    assert "does not open" in text
    config = configured(directory, key_passphrase_file=f'"{secret}"', legacy_certificates="true")
    assert load_credentials(parse_config(config)).untimely is None


@pytest.fixture(scope="module")
def server(made: PlainCertificates) -> Iterator[RunningServer]:
    def tls(directory: Path) -> dict[str, str | bool]:
        """With the two lines that the errors name."""
        for name in ("ca.crt", "server.crt", "server.key"):
            shutil.copy(made.directory / name, directory / f"plain-{name}")
        secret = write_secret(directory / "plain-secret", SERVER_PASSPHRASE)
        key = directory / "plain-server.key"
        for path in (secret, key):
            if IS_ROOT:
                os.chown(path, SERVER_UID, SERVER_UID)
        return {
            "certificate": str(directory / "plain-server.crt"),
            "key": str(key),
            "key_passphrase_file": str(secret),
            "client_ca": str(directory / "plain-ca.crt"),
            "legacy_certificates": True,
        }

    with running_server(policy_text(COMMANDS, CLIENT), tls=tls) as found:
        yield found


def on_a_terminal(made: PlainCertificates, server: RunningServer, *words: str) -> Answered:
    """The CLI as a person runs it in the directory of the certificates."""
    files = {"CA": "ca.crt", "CERT": "client.crt", "KEY": "client.key"}
    environment = {f"PENSTOCK_{key}": name for key, name in files.items()} | {
        "PENSTOCK_ADDR": f"localhost:{server.port}",
        "PENSTOCK_AGENT": "off",
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
    }
    return answered(
        [sys.executable, "-m", "penstock.cli", *words],
        [("Passphrase of client.key: ", CLIENT_PASSPHRASE)],
        directory=made.directory,
        environment=environment,
    )


def test_the_command_line_and_a_real_penstockd(
    made: PlainCertificates, server: RunningServer
) -> None:
    """The CLI says what is wrong with the server's certificate, and works with what it says to add;
    it is kept out once its own certificate is revoked, and is told so."""
    done = on_a_terminal(made, server, "run", "true")
    assert done.status == 125
    assert "it is not for localhost, because it has no subjectAltName" in done.shown
    pin = re.search(r"--server-fingerprint ([0-9a-f]{64})", done.shown)
    assert pin is not None
    assert f"SHA-256    {pin[1]}\n" in certs(made, "show", "server.crt").stdout
    done = on_a_terminal(made, server, "--server-fingerprint", pin[1], "run", "true")
    assert done.status == 0, done.shown
    (decision,) = [line for line in server.audit() if line.get("verb") == "start"]
    assert (decision["client"], decision["allowed"]) == ("alice", True)
    revoke_alice(made, server)
    done = on_a_terminal(made, server, "--server-fingerprint", pin[1], "run", "true")
    assert done.status == 125
    assert "the server says that client.crt (--cert) was revoked" in done.shown
    reasons = [line["reason"] for line in server.audit() if line["event"] == "certificate.refused"]
    assert reasons[-1] == "REVOKED"


def revoke_alice(made: PlainCertificates, server: RunningServer) -> None:
    """By penstock certs with openssl's CA, and by the two commands that it prints, of which the
    first is a copy here."""
    revoked = certs(made, "revoke", "alice", "--dir", ".", "-o", "json")
    _, reload = json.loads(revoked.stdout)["commands"]
    shutil.copy(made.directory / "crl.pem", server.directory / "certs" / "crl.pem")
    config = server.directory / "penstockd.toml"
    line = f'[tls]\ncrl = "{server.directory}/certs/crl.pem"\n'
    config.write_text(config.read_text().replace("[tls]\n", line))
    words = reload.removeprefix("ssh root@SERVER penstockd ").split()
    words[words.index("--config") + 1] = str(config)
    done = subprocess.run(
        [sys.executable, "-m", "penstock.penstockd", *words],
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert done.returncode == 0, done.stderr


def certs(made: PlainCertificates, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock.cli", "certs", *words],
        cwd=made.directory,
        env={"PATH": os.environ["PATH"], "PENSTOCK_CA_PASSPHRASE": CA_PASSPHRASE},
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )


async def test_what_is_printed_makes_certificates_that_need_no_setting(
    made: PlainCertificates, tmp_path: Path
) -> None:
    """Both commands, typed as they are printed, with the CA's passphrase at the terminal."""
    directory = tmp_path / "again"
    shutil.copytree(made.directory, directory)
    again = PlainCertificates(directory)
    again.sign_again(command_in(refused(directory)))
    with pytest.raises(AuthenticationError) as caught:
        identify(der_of(directory / "client.crt"))
    again.sign_again(command_in(str(caught.value)))
    secret = write_secret(directory / "secret", SERVER_PASSPHRASE)
    config = parse_config(configured(directory, key_passphrase_file=f'"{secret}"'))
    credentials = load_credentials(config)
    async with serving(shared_pki(), identify=lambda peer: identify(peer.certificate)) as running:
        running.server.use_ssl_context(credentials.context)
        endpoint = Endpoint(
            *("localhost", running.port, directory / "ca.crt"),
            *(directory / "client.crt", directory / "client.key", CLIENT_PASSPHRASE.encode()),
        )
        async with connect(endpoint) as client:
            await client.channel.unary("toy.Toy", "Echo", BytesValue(), BytesValue)
        (context,) = running.toy.contexts
    assert context.identity.client_id == "alice"


def command_in(text: str) -> str:
    found = re.search(r"printf .*? /dev/stdin", text)
    assert found is not None, text
    return found[0]


def der_of(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
