"""certs init, certs issue: an own CA for a start."""

import json
from pathlib import Path

from ..pki.issue import issue as make
from ..pki.issue import make_ca
from .apart import apart
from .flags import Settings
from .passphrases import read_passphrase
from .signal_handling import detaches
from .standard import say


@detaches("what is there is whole; see it with: ls {directory}")
async def init(settings: Settings, directory: str) -> None:
    """Makes a CA's certificate and key in ``directory``, and prints their paths."""
    certificate = make_ca(Path(directory))
    key = certificate.with_suffix(".key")
    if settings.json:
        say(json.dumps({"kind": "ca", "certificate": str(certificate), "key": str(key)}))
    else:
        say(f"Made {certificate} and {key}")


@detaches("what is there is whole; see it with: ls {directory}")
async def issue(
    settings: Settings,
    name: str,
    directory: str,
    hosts: tuple[str, ...],
    days: int,
    passphrase_file: str | None,
    ca_passphrase_file: str | None,
) -> None:
    """Makes the certificate of a client, or with ``hosts`` of a server, and its key."""
    issued = make(
        Path(directory),
        name,
        server_names=hosts,
        days=days,
        passphrase=await _passphrase(passphrase_file, "--passphrase-file"),
        ca_passphrase=await _passphrase(ca_passphrase_file, "--ca-passphrase-file"),
    )
    kind = "server" if hosts else "client"
    if settings.json:
        about = {
            "kind": kind,
            "certificate": str(issued.certificate),
            "key": str(issued.key),
            "name": name,
            "not_after": f"{issued.not_after:%Y-%m-%dT%H:%M:%SZ}",
            "cut_to_ca": issued.cut_to_ca,
        }
        say(json.dumps(about))
        return
    until = f"until {issued.not_after:%Y-%m-%d}"
    if issued.cut_to_ca:
        until += f", when the CA ends: that is less than {days} days"
    say(f"Made {issued.certificate} and {issued.key} for the {kind} {name}, {until}")


async def _passphrase(path: str | None, option: str) -> bytes | None:
    return None if path is None else await apart(read_passphrase, Path(path), option)
