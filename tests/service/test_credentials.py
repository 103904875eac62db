"""The files of ``[tls]``: read all or nothing, every mistake named."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from pki import Pki, make_pki

from penstock.credentials import CredentialsError, load_credentials
from penstock.supervisor.config import Config, parse_config

PASSPHRASE = b"open sesame"


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return make_pki(tmp_path)


def config(pki: Pki, **tls: str) -> Config:
    values = {
        "certificate": str(pki.server.certificate),
        "key": str(pki.server.key),
        "client_ca": str(pki.ca),
        **tls,
    }
    lines = [f'{key} = "{value}"' for key, value in values.items()]
    return parse_config("\n".join(['policy = "/p"', "[tls]", *lines]).encode())


def encrypt(pki: Pki) -> None:
    key = serialization.load_pem_private_key(pki.server.key.read_bytes(), None)
    pki.server.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSPHRASE),
        )
    )


def passphrase_file(directory: Path, text: bytes, mode: int = 0o600) -> str:
    path = directory / "passphrase"
    path.write_bytes(text)
    path.chmod(mode)
    return str(path)


def test_an_encrypted_key(pki: Pki, tmp_path: Path) -> None:
    """With its passphrase it is used, without or with another it is refused."""
    encrypt(pki)
    file = passphrase_file(tmp_path, PASSPHRASE + b"\n")
    load_credentials(config(pki, key_passphrase_file=file))
    with pytest.raises(CredentialsError, match="password is needed"):
        load_credentials(config(pki))
    file = passphrase_file(tmp_path, b"wrong")
    with pytest.raises(CredentialsError, match="of the configuration"):
        load_credentials(config(pki, key_passphrase_file=file))


def test_files_that_others_can_read(pki: Pki, tmp_path: Path) -> None:
    """Row 7: key and passphrase are refused, both at once."""
    encrypt(pki)
    pki.server.key.chmod(0o640)
    file = passphrase_file(tmp_path, PASSPHRASE, 0o644)
    with pytest.raises(CredentialsError) as caught:
        load_credentials(config(pki, key_passphrase_file=file))
    assert "[tls] key:" in str(caught.value)
    assert "[tls] key_passphrase_file:" in str(caught.value)
