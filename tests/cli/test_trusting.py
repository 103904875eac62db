"""penstock certs trust: a server's certificate is shown, and pinned when that is confirmed."""

import json
import os
import sys
import tomllib
from pathlib import Path

import pytest
import trio
from answering import answered
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from fake_service import FakeServer, fake_server
from json_schema import mistakes
from pki import shared_pki

from penstock.cli.json_schemas import schema_of

CLI = [sys.executable, "-m", "penstock.cli"]
UNSET = dict.fromkeys(("PENSTOCK_ADDR", "PENSTOCK_CA", "PENSTOCK_CERT", "PENSTOCK_KEY"), "")


class Contexts:
    """A user's file, with a context ``live`` that has no CA and another server's name."""

    def __init__(self, home: Path, server: FakeServer) -> None:
        pair = shared_pki().clients["alice"]
        self.home = home
        self.file = home / "penstock" / "contexts.toml"
        self.file.parent.mkdir()
        self.file.write_text(
            f'# mine\n[contexts.live]\naddress = "127.0.0.1:{server.port}"\n'
            f'certificate = "alice.crt"\nkey = "alice.key"\nserver_name = "elsewhere"\n'
        )
        self.file.chmod(0o600)
        for name, path in (("alice.crt", pair.certificate), ("alice.key", pair.key)):
            (self.file.parent / name).symlink_to(path)

    @property
    def environment(self) -> dict[str, str]:
        return UNSET | {"XDG_CONFIG_HOME": str(self.home), "HOME": str(self.home)}

    @property
    def pinned(self) -> str | None:
        found: str | None = tomllib.loads(self.file.read_text())["contexts"]["live"].get(
            "server_fingerprint"
        )
        return found


def fingerprint() -> str:
    pem = shared_pki().server.certificate.read_bytes()
    return x509.load_pem_x509_certificate(pem).fingerprint(SHA256()).hex()


async def test_without_a_context_it_is_shown() -> None:
    """With what would keep us from connecting, and how it could be pinned."""
    async with fake_server() as server:
        done = await server.run_cli("certs", "trust")
        assert (done.code, done.err) == (0, b"")
        text = done.out.decode()
        assert "names      localhost, 127.0.0.1" in text
        assert f"SHA-256    {fingerprint()}" in text
        assert "WRONG" not in text
        assert f"can be pinned with --server-fingerprint {fingerprint()}, or" in text
        other = {"PENSTOCK_CA": str(shared_pki().other_authority.certificate)}
        done = await server.run_cli("-o", "json", "certs", "trust", environment=other)
        line = json.loads(done.out)
        assert mistakes(line, schema_of("certs trust"), {}) == []
        assert (line["pinned"], line["fingerprint"]) == (False, fingerprint())
        assert "is not of the CA in" in line["wrong"][0]


async def test_a_script_gives_the_fingerprint(tmp_path: Path) -> None:
    """It is pinned if it is that; the file is otherwise as it was, and verbs connect by it."""
    async with fake_server() as server:
        user = Contexts(tmp_path, server)
        before = user.file.read_text()
        words = ("--context", "live", "certs", "trust")
        done = await server.run_cli(*words, environment=user.environment)
        assert (done.code, user.pinned) == (0, None)
        again = f"penstock --context live certs trust --fingerprint {fingerprint()}"
        assert f"pin it with: {again}" in done.out.decode()
        assert "WRONG: it is not for elsewhere" in done.out.decode()
        wrong = ("--fingerprint", "0" * 64)
        done = await server.run_cli(*words, *wrong, environment=user.environment)
        assert (done.code, user.pinned) == (3, None)
        assert f"{fingerprint()}, and not {'0' * 64}" in done.err.decode()
        colons = ":".join(fingerprint()[at : at + 2] for at in range(0, 64, 2)).upper()
        right = ("--fingerprint", colons)
        done = await server.run_cli(*words, *right, environment=user.environment)
        assert (done.code, user.pinned) == (0, fingerprint())
        assert user.file.read_text() == before + f'server_fingerprint = "{fingerprint()}"\n'
        done = await server.run_cli("--context", "live", "version", environment=user.environment)
        assert done.code == 0, done.err


@pytest.mark.parametrize(("answer", "pinned"), [("yes", True), ("y", False)])
async def test_a_person_confirms_it(tmp_path: Path, answer: str, pinned: bool) -> None:
    """At the terminal, after having compared."""
    async with fake_server() as server:
        user = Contexts(tmp_path, server)
        words = [*CLI, "certs", "trust", "--context", "live"]
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"} | user.environment

        def run() -> object:
            asked = [("is it to be pinned for context live? Type yes:", answer)]
            return answered(words, asked, directory=tmp_path, environment=environment)

        await trio.to_thread.run_sync(run)
        assert user.pinned == (fingerprint() if pinned else None)


async def test_an_address_from_elsewhere_pins_nothing(tmp_path: Path) -> None:
    """It is another server than the context's."""
    async with fake_server() as server:
        user = Contexts(tmp_path, server)
        words = ("--context", "live", "--addr", f"localhost:{server.port}", "certs", "trust")
        right = ("--fingerprint", fingerprint())
        done = await server.run_cli(*words, *right, environment=user.environment)
        assert (done.code, user.pinned) == (0, None)


async def test_no_server_and_none_that_answers() -> None:
    """As other verbs have it: 2 and 3."""
    async with fake_server() as server:
        done = await server.run_cli("certs", "trust", environment=UNSET)
        assert done.code == 2
        assert b"no server to look at" in done.err
        server.break_connections()
        server.listener.socket.close()
        done = await server.run_cli("certs", "trust")
        assert done.code == 3
        assert done.err.count(b"\n") == 1
