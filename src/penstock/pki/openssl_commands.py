"""The openssl command that makes a certificate again with what it lacks (pure).

For those who have made theirs by a recipe that ends in ``openssl x509 -req`` without extensions:
the request and the CA are there already, so one command is all it takes. The extensions come from a
pipe, because then no file has to be written; openssl asks for the CA's passphrase at the terminal.
"""

import shlex
from collections.abc import Sequence
from ipaddress import ip_address


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
    """With what a server's certificate needs; ``hosts`` are names and addresses."""
    names = ",".join(f"{_kind(host)}:{host}" for host in hosts)
    return signed_again(stem, f"subjectAltName={names}", "extendedKeyUsage=serverAuth")


def _kind(host: str) -> str:
    try:
        ip_address(host)
    except ValueError:
        return "DNS"
    return "IP"
