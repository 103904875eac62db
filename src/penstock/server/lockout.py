"""Whether new files of ``[tls]`` would refuse everybody who is connected now (sync, no I/O).

What a CA file or a list of revoked certificates means is OpenSSL's to say, and it has more reasons
to refuse than any reader of such files knows: so it is asked, for each client that is connected,
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

# X509_V_ERR_CERT_REVOKED: it is on a list that OpenSSL could use, which is what lists are for.
_REVOKED: Final = 23
# X509_V_ERR_* that are about a list: UNABLE_TO_GET_CRL, CRL_NOT_YET_VALID, CRL_HAS_EXPIRED and so
# on (openssl/x509_vfy.h). Whatever else it says, the CA is to blame.
_OF_A_LIST: Final = frozenset({3, 5, 6, 8, 11, 12, 15, 16, 33, 35, 36, 44, 54})
_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class TrialResult:
    """``asked``: certificates that were tried. ``lockout``: why nobody gets in, or ""."""

    asked: int
    lockout: str = ""


def try_files(
    old: ssl.SSLContext,
    new: ssl.SSLContext,
    peers: Iterable[Peer],
    revoked: Callable[[bytes], bool] = lambda certificate: False,
) -> TrialResult:
    """One client that gets in is enough, so then no more are asked.

    A client that the files of now refuse, too, as it has expired for example, counts for nothing;
    nor does one whose certificate the new list names: OpenSSL says so, or ``revoked``, by which it
    is refused after a handshake that OpenSSL lets pass (of a delta list, for example). Takes a
    millisecond or two for each certificate that is asked about, so it is for a thread where there
    may be many.
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
        except TrialFailed:  # nothing is known of this one
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
