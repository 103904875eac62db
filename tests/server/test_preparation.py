"""What a server begins with: the bytes that the supervisor has in force, and its own files."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from pki import HOUR, Pki, make_pki

from penstock.server.generation import Generation
from penstock.server.preparation import GenerationError, first_generation

POLICY = b"[clients.alice]\ncommands = []\n"


def configuration(pki: Pki, more: str = "", **tls: str) -> bytes:
    files = {
        "certificate": str(pki.server.certificate),
        "key": str(pki.server.key),
        "client_ca": str(pki.ca),
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in (files | tls).items()]
    return "\n".join(['policy = "/p"', more, "[tls]", *lines]).encode()


def begun(data: bytes, path: Path, policy: bytes = POLICY, **settings: object) -> Generation:
    backend: Any = SimpleNamespace(
        configuration_bytes=data,
        policy_bytes=policy,
        generation="g",
        reloads=SimpleNamespace(welcome=SimpleNamespace(settings=json.dumps(settings))),
    )
    return first_generation(backend, str(path))


def test_what_is_in_force_counts_and_not_what_the_file_says_by_now(tmp_path: Path) -> None:
    """And what cannot change while penstockd runs is as it runs."""
    path = tmp_path / "penstockd.toml"
    path.write_text("nonsense")
    found = begun(configuration(make_pki(tmp_path), "drain_s = 7\n"), path, state_dir="/s")
    assert (found.hash, found.config.drain_s, found.config.state_dir) == ("g", 7.0, "/s")
    assert set(found.policy.clients) == {"alice"}


def test_a_supervisor_of_an_earlier_version_sends_no_configuration(tmp_path: Path) -> None:
    """Then it is the file's, as it was then."""
    path = tmp_path / "penstockd.toml"
    path.write_bytes(configuration(make_pki(tmp_path), "drain_s = 7\n"))
    assert begun(b"", path).config.drain_s == 7.0
    path.unlink()
    with pytest.raises(GenerationError, match="No such file"):
        begun(b"", path)


def test_a_server_that_could_not_serve_does_not_begin(tmp_path: Path) -> None:
    """With every mistake of the part that is wrong."""
    pki = make_pki(tmp_path)
    for data, policy, text in (
        (configuration(pki, "[transport]\nnonsense = 1\n"), POLICY, r"\[transport\] .*nonsense"),
        (configuration(pki, "[transport]\ndrain_s = 1\n"), POLICY, r"drain_s: stands below \["),
        (configuration(pki, key="/nonexistent"), POLICY, "/nonexistent"),
        (configuration(pki), b"nonsense = 1\n", "nonsense: unknown key"),
        (b"[", POLICY, "not TOML"),
    ):
        with pytest.raises(GenerationError, match=text):
            begun(data, tmp_path, policy)


def test_an_expired_certificate_is_no_reason_not_to_begin(tmp_path: Path) -> None:
    """Jobs wait to be taken over; it is said."""
    pki = make_pki(tmp_path)
    server = ExtendedKeyUsageOID.SERVER_AUTH
    old = pki.authority.issue("old", "x", usage=server, not_before=-2 * HOUR, not_after=-HOUR)
    data = configuration(pki, certificate=str(old.certificate), key=str(old.key))
    untimely = begun(data, tmp_path).credentials.untimely
    assert untimely is not None
    assert "has expired" in untimely
