"""What is in force: one state of all files at a time, replaced as a whole.

Theory of operation. Everything that decides by a file asks ``InForce.current`` at the moment at
which it decides, and keeps nothing of it beyond that: so a reload replaces one reference, and no
part of the server can decide by an older file than another part does. What a call has decided
before a checkpoint may rest on a generation that is gone behind it, so it decides again there, as
it does about everything else that may have changed (service.py).
"""

from dataclasses import dataclass

from ..policy.configuration import Config
from ..policy.policy_file import Policy
from .authn import Identity
from .credentials import Credentials


@dataclass(frozen=True, slots=True)
class Generation:
    """One state of configuration, policy and the files of ``[tls]``.

    ``hash`` names it between this process and the supervisor: a START says by which generation it
    was decided.
    """

    config: Config
    policy: Policy
    credentials: Credentials
    hash: str

    def revokes_certificate(self, certificate: bytes, identity: Identity | None) -> bool:
        """Whether the CA's list names this certificate, or the policy does."""
        if self.credentials.revocations.covers(certificate):
            return True
        return identity is not None and identity.serial in self.policy.revoked.serials

    def revokes_client(self, identity: Identity | None) -> bool:
        """Whether the policy names the client, whatever its certificate."""
        return identity is not None and identity.client_id in self.policy.revoked.clients


class InForce:
    """The one place that says which generation is in force."""

    __slots__ = ("current",)

    def __init__(self, current: Generation) -> None:
        self.current = current
