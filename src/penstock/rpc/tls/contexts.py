"""The TLS contexts of both ends: TLS 1.3 only, both ends verified, ALPN ``h2``."""

import os
import ssl
from typing import Any, Final, NoReturn, TypeAlias

Path: TypeAlias = str | os.PathLike[str]

ALPN: Final = "h2"
_DER: Final = 2  # _ssl.ENCODING_DER


class KeyPasswordNeeded(OSError):
    """The private key is encrypted and no password was given."""


def server_ssl_context(
    certificate: Path,
    key: Path,
    client_ca: Path,
    password: str | bytes | None = None,
    crl: Path | None = None,
) -> ssl.SSLContext:
    """For a server that accepts clients of ``client_ca`` alone. PEM files.

    With ``crl``, a list of that CA, revoked clients are refused, and every client once the
    list's next update is overdue.

    Raises OSError (ssl.SSLError and KeyPasswordNeeded are): a file is missing, unreadable,
    not what it should be, or the key is not the certificate's or its password is wrong.
    OpenSSL refuses a client certificate whose extended key usage is there and lacks client
    authentication. It accepts one without that extension, so the caller must judge those.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # a ticket would outlive the revocation of its certificate
    if crl is not None:
        context.load_verify_locations(cafile=crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return _configured(context, certificate, key, client_ca, password)


def client_ssl_context(
    certificate: Path,
    key: Path,
    server_ca: Path | None,
    password: str | bytes | None = None,
    *,
    pinned: bool = False,
) -> ssl.SSLContext:
    """For a client that trusts servers of ``server_ca`` alone, by name. Raises as above.

    ``pinned``: the caller knows the server's certificate itself, and compares it in the handshake
    (``TlsTransport``), so the name is not checked, and without ``server_ca`` nothing is.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies, and checks the name
    if pinned:
        context.check_hostname = False
    if server_ca is None:
        if not pinned:
            raise ValueError("server_ca is None, and no certificate is pinned")
        context.verify_mode = ssl.CERT_NONE
    # RFC 9525: a common name names no host. Otherwise a client whose certificate has no
    # alternative name could pose as a server, if its common name is that server's.
    context.hostname_checks_common_name = False
    return _configured(context, certificate, key, server_ca, password)


def anonymous_ssl_context() -> ssl.SSLContext:
    """For looking at a server's certificate, whoever it is: nothing is verified, and there is no
    certificate of ours that it could be shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    return context


def sent_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """DER of the certificates that the peer has sent, its own first; empty if there are none."""
    if hasattr(tls, "get_unverified_chain"):  # Python 3.13
        return tuple(tls.get_unverified_chain())
    # The same call, not public yet, which gives objects.
    chain: list[Any] | None = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return tuple(each.public_bytes(_DER) for each in chain or ())


def _configured(
    context: ssl.SSLContext,
    certificate: Path,
    key: Path,
    ca: Path | None,
    password: str | bytes | None,
) -> ssl.SSLContext:
    def asked() -> str | bytes:
        # A callback in any case, because OpenSSL would otherwise ask on the terminal, or hang.
        return password if password is not None else _refuse(key)

    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    if ca is not None:
        context.load_verify_locations(cafile=ca)
    context.load_cert_chain(certificate, key, asked)
    return context


def _refuse(key: Path) -> NoReturn:
    raise KeyPasswordNeeded(f"{os.fspath(key)}: the key is encrypted; a password is needed")
