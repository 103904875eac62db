"""``penstock certs``: what can be typed, as in ``verbs``."""

from typing import Final

import asyncclick as click

from .arguments import TEXT
from .verb_forms import (
    CONNECT_TIMEOUT_BEHIND,
    CONTEXT_BEHIND,
    OUTPUT_BEHIND,
    argument,
    behind,
    option,
    verb,
)

_OWN: Final = (OUTPUT_BEHIND,)
_DIRECTORY: Final = option(
    "--dir", "directory", default="certs", show_default=True, help="Where the files are."
)
_CA_PASSPHRASE: Final = option(
    "--ca-passphrase-file",
    metavar="FILE",
    help="Opens an encrypted ca.key; PENSTOCK_CA_PASSPHRASE_FILE, PENSTOCK_CA_PASSPHRASE.",
)
_PASSPHRASE: Final = option(
    "--passphrase-file", metavar="FILE", help="Encrypts the key with what this file holds."
)
_ENCRYPT: Final = option(
    "--encrypt", is_flag=True, help="Encrypts the key with a passphrase typed at the terminal."
)
_DAYS: Final[dict[str, object]] = {"type": click.IntRange(1, 3650), "metavar": "DAYS"}
_HOURS: Final = option(
    *("--hours", "hours"),
    type=click.IntRange(1, 87600),
    metavar="HOURS",
    help="In place of days.",
)
_CRL_DAYS: Final = option(
    "--days", default=30, show_default=True, help="How long the list counts.", **_DAYS
)
INIT: Final = verb(
    "certificates.init",
    "Makes a CA: ca.crt, and ca.key, which belongs in a safe place.",
    _DIRECTORY,
    option(
        *("--name", "name"),
        default="penstock CA",
        show_default=True,
        type=TEXT,
        help="What the CA is called.",
    ),
    option("--days", default=3650, show_default=True, help="How long it is valid.", **_DAYS),
    option("--encrypt", is_flag=True, help="Asks for a passphrase, and encrypts ca.key (AES-256)."),
    option(
        "--ca-passphrase-file",
        metavar="FILE",
        help="Encrypts ca.key; PENSTOCK_CA_PASSPHRASE_FILE, PENSTOCK_CA_PASSPHRASE.",
    ),
    own=_OWN,
    hosted=False,
    example="""
    penstock certs init --dir certs
    penstock certs init --encrypt
    """,
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
    option("--days", help="How long it is valid (90).", **_DAYS),
    _HOURS,
    _ENCRYPT,
    _PASSPHRASE,
    _CA_PASSPHRASE,
    own=_OWN,
    hosted=False,
    example="""
    penstock certs issue alice
    penstock certs issue ci --hours 8
    penstock certs issue server --host server.example.org --host 10.0.0.7
    """,
)
RENEW: Final = verb(
    "certificates.renew",
    """Makes NAME.crt again: the same names, valid from now on as long as before.

    The key stays, so that neither it nor its passphrase is needed here.
    """,
    argument("name"),
    _DIRECTORY,
    option(
        *("--host", "hosts"),
        multiple=True,
        type=TEXT,
        help="In place of the names that a server's has; may be repeated.",
    ),
    option("--days", help="How long it is valid (as before).", **_DAYS),
    _HOURS,
    option("--new-key", is_flag=True, help="Another NAME.key, too."),
    _ENCRYPT,
    _PASSPHRASE,
    _CA_PASSPHRASE,
    own=_OWN,
    hosted=False,
    example="""
    penstock certs renew alice
    penstock certs renew server --new-key
    penstock certs renew server --host server.example.org --host www.example.org
    """,
)
REVOKE: Final = verb(
    "revoking.revoke",
    """Takes certificates back: all of client or server NAME, or the one with a serial number.

    Writes crl.pem, and prints the two commands that install it at the server.
    """,
    argument("wanted", metavar="NAME|SERIAL"),
    _DIRECTORY,
    option(
        "--reason",
        default="unspecified",
        type=click.Choice(
            [
                *("unspecified", "key-compromise", "affiliation-changed", "superseded"),
                *("cessation-of-operation", "privilege-withdrawn"),
            ]
        ),
        metavar="REASON",
        help="As the list has it: key-compromise, superseded, ...",
    ),
    _CRL_DAYS,
    option("--unlisted", is_flag=True, help="Also a serial number that the index does not know."),
    _CA_PASSPHRASE,
    own=_OWN,
    hosted=False,
    example="""
    penstock certs revoke mallory
    penstock certs revoke 5a:3f:09 --reason key-compromise
    """,
)
CRL: Final = verb(
    "revoking.crl",
    "Writes crl.pem anew, the list of revoked certificates, before the old one is out of date.",
    _DIRECTORY,
    _CRL_DAYS,
    _CA_PASSPHRASE,
    own=_OWN,
    hosted=False,
    example="penstock certs crl --days 90",
)
SHOW: Final = verb(
    "certificate_files.show",
    """Says what is in each FILE, and what is wrong with it: certificates, keys, lists, requests.

    Without FILE: what the CA of --dir has issued. Exit status 1: something is wrong.
    """,
    argument("files", metavar="[FILE]...", nargs=-1),
    _DIRECTORY,
    option(
        *("--as", "role"),
        type=click.Choice(["server", "client", "ca"]),
        help="What it is wanted for, if it does not say so.",
    ),
    option(*("--host", "host"), type=TEXT, metavar="NAME", help="What clients connect to."),
    behind("ca", "--ca", metavar="FILE", type=TEXT, help="The CA that must have signed it."),
    option("--passphrase-file", metavar="FILE", help="Opens an encrypted key."),
    own=_OWN,
    hosted=False,
    example="""
    penstock certs show server.crt server.key --as server --host server.example.org
    penstock certs show
    """,
)
TRUST: Final = verb(
    "trusting.trust",
    """Shows the certificate of the server, and pins it for the context if you confirm it.

    Nothing of ours is sent. A server that is pinned needs no name in its certificate.
    """,
    option(
        *("--fingerprint", "fingerprint"),
        metavar="SHA256",
        type=TEXT,
        help="What it must be; pins it without asking.",
    ),
    behind("address", "--addr", metavar="HOST:PORT", type=TEXT, help="The server."),
    own=(OUTPUT_BEHIND, CONNECT_TIMEOUT_BEHIND, CONTEXT_BEHIND),
    hosted=False,
    example="""
    penstock certs trust --addr server.example.org
    penstock certs trust --context prod
    """,
)
CERTS: Final = click.Group(
    "certs",
    {
        "init": INIT,
        "issue": ISSUE,
        "renew": RENEW,
        "revoke": REVOKE,
        "crl": CRL,
        "show": SHOW,
        "trust": TRUST,
    },
    params=[OUTPUT_BEHIND],
    help="Makes the certificates that clients and servers know each other by, and looks at them.",
)
