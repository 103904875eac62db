"""certs init, certs issue: an own CA for a start."""

from pathlib import Path
from typing import Final

import asyncclick as click

from .arguments import TEXT, detaches
from .connection_settings import read_passphrase
from .standard import say

_DIRECTORY: Final = click.option(
    "--dir", "directory", default="certs", show_default=True, help="Where the files are."
)


@click.group()
def certs() -> None:
    """Makes the certificates that clients and servers know each other by."""


@certs.command()
@_DIRECTORY
@detaches("what is there is whole; see it with: ls {directory}")
async def init(directory: str) -> None:
    """Makes a CA: ca.crt, and ca.key, which belongs in a safe place."""
    from ..pki.issue import make_ca

    path = make_ca(Path(directory))
    say(f"Made {path} and {path.with_suffix('.key')}")


@certs.command()
@click.argument("name", type=TEXT)
@_DIRECTORY
@click.option(
    "--host", "hosts", multiple=True, type=TEXT, help="A server's name or address; may be repeated."
)
@click.option("--days", default=90, show_default=True, type=click.IntRange(1, 3650))
@click.option("--passphrase-file", help="Encrypts the key with what this file holds.")
@click.option("--ca-passphrase-file", help="Opens an encrypted ca.key.")
@detaches("what is there is whole; see it with: ls {directory}")
async def issue(
    name: str,
    directory: str,
    hosts: tuple[str, ...],
    days: int,
    passphrase_file: str | None,
    ca_passphrase_file: str | None,
) -> None:
    """Makes NAME.crt and NAME.key: for the client NAME, or with --host for a server.

    A client's NAME is its id, a plain name or a spiffe:// URI.
    """
    from ..pki.issue import issue as make

    issued = make(
        Path(directory),
        name,
        server_names=hosts,
        days=days,
        passphrase=_passphrase(passphrase_file, "--passphrase-file"),
        ca_passphrase=_passphrase(ca_passphrase_file, "--ca-passphrase-file"),
    )
    kind = "server" if hosts else "client"
    until = f"until {issued.not_after:%Y-%m-%d}"
    if issued.cut_to_ca:
        until += f", when the CA ends: that is less than {days} days"
    say(f"Made {issued.certificate} and {issued.key} for the {kind} {name}, {until}")


def _passphrase(path: str | None, option: str) -> bytes | None:
    return None if path is None else read_passphrase(Path(path), option)


COMMANDS: Final = {"certs": certs}
