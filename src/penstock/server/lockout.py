"""Whether new files of ``[tls]`` would refuse every client connected now (sync, no I/O).

Only OpenSSL decides what a CA file or a list of revoked certificates means, and it has more reasons
to refuse than a parser of ours would know. So OpenSSL is asked instead, for each connected client,
with the certificates that this client has sent.
"""

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from ..pki.issue import UNREADABLE
from ..rpc.server_call import Peer
from ..rpc.tls.chain_trial import TrialFailed, refusal

# X509_V_ERR_CERT_REVOKED: the certificate is on a list that OpenSSL could use, so it is meant.
_REVOKED: Final = 23
# X509_V_ERR_* that are about a list: UNABLE_TO_GET_CRL, CRL_NOT_YET_VALID, CRL_HAS_EXPIRED and so
# on (openssl/x509_vfy.h). Any other error is the CA file's.
_OF_A_LIST: Final = frozenset({3, 5, 6, 8, 11, 12, 15, 16, 33, 35, 36, 44, 54})
_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class TrialResult:
    """``asked``: how many certificates were tried. ``lockout``: why no client gets in, or ""."""

    asked: int
    lockout: str = ""


def try_files(
    old: ssl.SSLContext,
    new: ssl.SSLContext,
    peers: Iterable[Peer],
    revoked: Callable[[bytes], bool] = lambda certificate: False,
) -> TrialResult:
    """Tries clients until one gets in, because one is enough to rule out a lockout.

    A client that the files of now refuse, too, does not count, because it has expired for example.
    Nor does one whose certificate the new list names: by OpenSSL, or by ``revoked``, which refuses
    after a handshake that OpenSSL lets pass (of a delta list, for example). Takes a millisecond or
    two for each certificate, so call it in a thread where there may be many.
    """
    chains = {(peer.certificate, *peer.issuers) for peer in peers}
    refused: dict[str, list[str]] = {}
    for chain in chains:
        if revoked(chain[0]):
            continue
        try:
            error = refusal(new, chain)
            if error is None:
                return TrialResult(len(chains))
            if error.verify_code == _REVOKED or refusal(old, chain) is not None:
                continue
        except TrialFailed:  # the trial itself failed, so it shows nothing about this client
            return TrialResult(len(chains))
        key = "crl" if error.verify_code in _OF_A_LIST else "client_ca"
        refused.setdefault(f"[tls] {key}: {error.verify_message}", []).append(_name(chain[0]))
    texts = [f"{text} ({_listed(names)})" for text, names in refused.items()]
    if not texts:
        return TrialResult(len(chains))
    return TrialResult(len(chains), f"no client that is connected would get in: {'; '.join(texts)}")


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _name(certificate: bytes) -> str:
    try:
        return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()[:64]
    except UNREADABLE:
        return "one that cannot be read"
