"""Why a peer's certificate was refused, or a peer has refused ours: a word for programs (pure).

OpenSSL has some eighty numbers for the first. An operator acts in one of a few ways, so those that
call for the same become one word.
"""

import ssl
from typing import Final

# X509_V_ERR_* of openssl/x509_vfy.h.
_REASONS: Final = {
    10: "EXPIRED",
    9: "NOT_YET_VALID",
    23: "REVOKED",
    # An unknown issuer, in its forms: no chain, self-signed, another key of the same name.
    **dict.fromkeys((2, 7, 18, 19, 20, 21, 27, 28, 30, 31), "OTHER_CA"),
    **dict.fromkeys((24, 26, 79), "WRONG_PURPOSE"),
    **dict.fromkeys((62, 63, 64), "WRONG_NAME"),
    **dict.fromkeys((66, 67, 68), "TOO_WEAK"),
    # Of the list of revoked certificates, which every client depends on.
    **dict.fromkeys((3, 5, 6, 8, 11, 12, 15, 16, 33, 35, 36, 44, 54), "REVOCATION_LIST"),
}
_IN_WORDS: Final = {
    "EXPIRED": "it has expired",
    "NOT_YET_VALID": "it is not valid yet by this machine's clock",
    "REVOKED": "it is on the list of revoked certificates ([tls] crl)",
    "OTHER_CA": "it is not of a CA in [tls] client_ca",
    "WRONG_PURPOSE": "it is not for client authentication",
    "TOO_WEAK": "its key or its signature is too weak",
    "REVOCATION_LIST": "the list of revoked certificates ([tls] crl) is out of date or of another "
    "CA, so no client gets in: write it anew with penstock certs crl",
    "OTHER": "OpenSSL does not accept it",
}
# Reasons of ssl.SSLError for alerts (RFC 8446 6.2), by what a client means by them.
_ALERTS: Final = {
    "TLSV1_ALERT_UNKNOWN_CA": "it is of a CA that the client does not trust (its --ca)",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired, by the client's clock",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the client holds it for revoked",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it is not for server authentication",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not have the name that the client expects, or is not "
    "valid yet by the client's clock",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not say why",
}


def reason_of(error: BaseException | None) -> str | None:
    """The word, if a client's certificate was refused; None of any other failure."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    return _REASONS.get(error.verify_code, "OTHER")


def in_words(error: BaseException | None) -> str:
    """What a server's operator should know beyond OpenSSL's own words; "" where that is nothing."""
    reason = reason_of(error)
    if reason is not None:
        return _IN_WORDS.get(reason, _IN_WORDS["OTHER"])
    alert = error.reason if isinstance(error, ssl.SSLError) else None
    if alert in _ALERTS:
        return f"the client refuses this server's certificate: {_ALERTS[alert]}"
    if alert == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "the peer has no certificate, which every client needs"
    return ""
