"""Would this generation let a client in that is connected by an earlier one? (sync, no I/O)

A connection outlives the files that have let it in. When the CA of its certificate is taken out of
``[tls] client_ca``, or a rule about certificates becomes stricter, a new handshake would fail; so
the old connection must end as well, or a client that has lost the trust keeps what it has for as
long as it stays connected.

Most are tried while a generation is prepared, in a thread, as each takes a millisecond or two. Who
connects between that and the switch is tried in the switch: that costs what its handshake has cost
a moment before, and there are only as many as had one in that moment. A handshake that is under way
at the switch is tried by the acceptor (rpc/tls/acceptor.py).
"""

from ..rpc.server_call import Peer
from ..rpc.tls.certificate_reasons import in_words
from ..rpc.tls.chain_trial import TrialFailed, refusal
from .authn import AuthenticationError, identify
from .generation import Generation


class Retrial:
    """By one generation; each chain of certificates is tried once."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._said: dict[tuple[bytes, ...], str] = {}

    def refusal_of(self, peer: Peer) -> str:
        """Why it would not get in with the certificates that it has sent; "" if it would."""
        chain = (peer.certificate, *peer.issuers)
        said = self._said.get(chain)
        if said is None:
            said = self._said[chain] = self._tried(chain)
        return said

    def _tried(self, chain: tuple[bytes, ...]) -> str:
        now = self._generation
        try:
            identify(chain[0], legacy_certificates=now.config.legacy_certificates)
        except AuthenticationError as error:
            return str(error)
        try:
            return in_words(refusal(now.credentials.context, chain))
        except TrialFailed:  # which shows nothing about this client
            return ""


def same_trust(before: Generation, now: Generation) -> bool:
    """Whether both let the same certificates in, as far as files and rules are concerned."""
    old, new = before.credentials.files, now.credentials.files
    if old is None or new is None:
        return False
    rules = (before.config.legacy_certificates, now.config.legacy_certificates)
    return (old.client_ca, old.crl) == (new.client_ca, new.crl) and rules[0] == rules[1]
