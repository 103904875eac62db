"""The openssl command that makes a certificate again with what it lacks (pure).

For those who have made theirs by a recipe that ends in ``openssl x509 -req`` without extensions:
the request and the CA are there already, so one command is all it takes. The extensions come from a
pipe, because then no file has to be written; openssl asks for the CA's passphrase at the terminal.

Names may come from the certificate of a server that nobody has verified, and an operator types what
is printed. So only what can be the name of a server is put into a command: a line end in a name
would be another extension, such as that of a CA.
"""

import shlex
from collections.abc import Sequence
from typing import Final

from cryptography import x509

from .names import general_name

_MOST_NAMES: Final = 20


def signed_again(stem: str, *extensions: str) -> str:
    """For ``stem``.csr, with these lines of extensions."""
    lines = "".join(f"{line}\\n" for line in extensions)
    return (
        f"printf {shlex.quote(lines)} | openssl x509 -req -in {shlex.quote(stem + '.csr')} "
        "-CA ca.crt -CAkey ca.key -CAcreateserial "
        f"-out {shlex.quote(stem + '.crt')} -days 365 -sha256 -extfile /dev/stdin"
    )


def client_signed_again(stem: str = "client") -> str:
    """With what a client's certificate needs."""
    return signed_again(stem, "extendedKeyUsage=clientAuth")


def server_signed_again(hosts: Sequence[str], stem: str = "server") -> str:
    """With what a server's certificate needs. ``hosts`` are names and addresses, of which those
    are left out that no server can have; "HOST" stands for none."""
    names = [name for host in hosts[:_MOST_NAMES] if (name := _alternative(host)) is not None]
    listed = ",".join(names) or "DNS:HOST"
    return signed_again(stem, f"subjectAltName={listed}", "extendedKeyUsage=serverAuth")


def _alternative(host: str) -> str | None:
    try:
        name = general_name(host)
    except ValueError:
        return None
    return f"{'IP' if isinstance(name, x509.IPAddress) else 'DNS'}:{name.value}"
