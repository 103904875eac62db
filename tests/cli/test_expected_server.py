"""Which server it must be: --server-name and --server-fingerprint, by flag and by variable."""

import dataclasses
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from fake_service import fake_server
from pki import shared_pki

from penstock.cli.connection_settings import endpoint_of
from penstock.cli.flags import Settings, SettingsError


def fingerprint() -> str:
    pem = shared_pki().server.certificate.read_bytes()
    return x509.load_pem_x509_certificate(pem).fingerprint(SHA256()).hex()


async def test_a_name_that_is_expected() -> None:
    """In the place of the address's; by a flag, or else by a variable."""
    async with fake_server() as server:
        for flag, variable, code in (
            ("localhost", "elsewhere", 0),
            (None, "elsewhere", 3),
        ):
            words = ("--server-name", flag, "version") if flag is not None else ("version",)
            environment = {"PENSTOCK_SERVER_NAME": variable}
            done = await server.run_cli(*words, environment=environment)
            assert done.code == code, (flag, variable, done.err)
            if code:
                assert b"give a name that is in it (localhost, 127.0.0.1)" in done.err


async def test_a_certificate_that_is_pinned() -> None:
    """Without a CA, and with any name; another one is not the server."""
    async with fake_server() as server:
        environment = {"PENSTOCK_CA": "", "PENSTOCK_SERVER_NAME": "elsewhere"}
        pinned = ("--server-fingerprint", fingerprint().upper(), "version")
        done = await server.run_cli(*pinned, environment=environment)
        assert done.code == 0, done.err
        other = {"PENSTOCK_SERVER_FINGERPRINT": "0" * 64}
        done = await server.run_cli("-o", "json", "list", environment=environment | other)
        assert done.code == 3
        error = json.loads(done.err)["error"]
        assert error["reason"] == "HANDSHAKE_FAILED"
        assert f"its SHA-256 is {fingerprint()}" in error["message"]
        done = await server.run_cli("list", environment=environment)
        assert done.code == 2
        assert b"give --ca (or PENSTOCK_CA)" in done.err


@pytest.mark.parametrize(
    ("setting", "text", "says"),
    [
        ("server_name", "host:1", "--server-name: 'host:1' is no name of a server"),
        ("server_fingerprint", "12:ab", "--server-fingerprint: '12:ab' is no SHA-256 finger"),
    ],
)
def test_what_is_neither(setting: str, text: str, says: str) -> None:
    """Names the setting, before anything is connected to."""
    changed: dict[str, Any] = {setting: text}
    pair = shared_pki().clients["alice"]
    settings = Settings(address="a", ca="ca", certificate=str(pair.certificate), key=str(pair.key))
    with pytest.raises(SettingsError, match=says):
        endpoint_of(dataclasses.replace(settings, **changed), {})
