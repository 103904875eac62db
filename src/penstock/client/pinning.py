"""A server that is known by its certificate itself: the pin that takes the place of its name.

The fingerprint is compared in the handshake, before anything of ours is sent, our own certificate
included. With a CA the rest of TLS's judgement stays. Without one the pin is all that says which
server this is; the certificate's dates still count then, because an operator who lets one expire
does not mean it to be used any longer.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from ..pki.fingerprints import fingerprint_of

NOT_PINNED = "is not the one that is pinned"


def refusal_by_pin(fingerprint: str | None, *, judge_dates: bool) -> Callable[[bytes], str | None]:
    """Says why a certificate (DER) is not that of the pinned server, or None; always None where
    nothing is pinned. ``judge_dates``: TLS has not done so."""

    def refusal(certificate: bytes) -> str | None:
        if fingerprint is None:
            return None
        found = fingerprint_of(certificate)
        if found != fingerprint:
            return f"the certificate is refused: it {NOT_PINNED}; its SHA-256 is {found}"
        why = _untimely(certificate) if judge_dates else None
        return f"the certificate is refused: {why}" if why else None

    return refusal


def _untimely(certificate: bytes) -> str | None:
    """In OpenSSL's words."""
    # Imported only here, because most connections have a CA, and cryptography takes long to load.
    from cryptography import x509

    try:
        read = x509.load_der_x509_certificate(certificate)
        begin, end = read.not_valid_before_utc, read.not_valid_after_utc
    except ValueError as error:
        return f"it cannot be read: {error}"
    if end <= datetime.now(UTC):
        return "certificate has expired"
    return "certificate is not yet valid" if begin > datetime.now(UTC) else None
