"""``penstock certs``: what can be typed, as in ``verbs``."""

from typing import Final

import asyncclick as click

from .arguments import TEXT
from .verb_forms import OUTPUT_BEHIND, argument, option, verb

_DIRECTORY: Final = option(
    "--dir", "directory", default="certs", show_default=True, help="Where the files are."
)
INIT: Final = verb(
    "certificates.init",
    "Makes a CA: ca.crt, and ca.key, which belongs in a safe place.",
    _DIRECTORY,
    own=(OUTPUT_BEHIND,),
    hosted=False,
    example="penstock certs init --dir certs",
)
ISSUE: Final = verb(
    "certificates.issue",
    """Makes NAME.crt and NAME.key: for the client NAME, or with --host for a server.

    A client's NAME is its id, a plain name or a spiffe:// URI.
    """,
    argument("name"),
    _DIRECTORY,
    option(
        *("--host", "hosts"),
        multiple=True,
        type=TEXT,
        help="A server's name or address; may be repeated.",
    ),
    option("--days", default=90, show_default=True, type=click.IntRange(1, 3650)),
    option("--passphrase-file", help="Encrypts the key with what this file holds."),
    option("--ca-passphrase-file", help="Opens an encrypted ca.key."),
    own=(OUTPUT_BEHIND,),
    hosted=False,
    example="""
    penstock certs issue alice
    penstock certs issue server --host server.example.org --host 10.0.0.7
    """,
)
CERTS: Final = click.Group(
    "certs",
    {"init": INIT, "issue": ISSUE},
    params=[OUTPUT_BEHIND],
    help="Makes the certificates that clients and servers know each other by.",
)
