"""certs init, certs issue: an own CA for a start."""

from pathlib import Path
from typing import Final

import asyncclick as click

from .standard import say

_DIRECTORY: Final = click.option(
    "--dir", "directory", default="certs", show_default=True, help="Where the files are."
)


@click.group()
def certs() -> None:
    """Makes the certificates that clients and servers know each other by."""


@certs.command()
@_DIRECTORY
def init(directory: str) -> None:
    """Makes a CA: ca.crt, and ca.key, which belongs in a safe place."""
    from ..certs import make_ca

    path = make_ca(Path(directory))
    say(f"Made {path} and {path.with_suffix('.key')}")


@certs.command()
@click.argument("name")
@_DIRECTORY
@click.option("--host", "hosts", multiple=True, help="A server's name or address; may be repeated.")
@click.option("--days", default=90, show_default=True, type=click.IntRange(1, 3650))
@click.option("--passphrase-file", help="Encrypts the key with what this file holds.")
def issue(
    name: str, directory: str, hosts: tuple[str, ...], days: int, passphrase_file: str | None
) -> None:
    """Makes NAME.crt and NAME.key: for the client NAME, or with --host for a server."""
    from ..certs import issue as make

    passphrase = (
        Path(passphrase_file).read_bytes().rstrip(b"\r\n") if passphrase_file is not None else None
    )
    path = make(Path(directory), name, server_names=hosts, days=days, passphrase=passphrase)
    kind = "server" if hosts else "client"
    say(f"Made {path} and {path.with_suffix('.key')} for the {kind} {name}, for {days} days")


COMMANDS: Final = {"certs": certs}
