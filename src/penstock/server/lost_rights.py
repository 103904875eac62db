"""What ends when a policy, or a list of revoked certificates, takes rights away.

Nothing here has a checkpoint: it is done in the same step in which the new generation is put in
force, so that no call of a client that has lost its rights begins or goes on in between.
"""

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ..jobs.end_record import BY_POLICY
from ..jobs.job_errors import Unavailable
from ..jobs.manager import Manager
from ..policy.decision import Denial, fate_of_jobs, may_call
from ..policy.policy_file import Policy
from ..rpc.call_errors import Reason, RpcError
from ..rpc.grpc_server import Peer, Server
from .authn import Identity
from .error_status import denied
from .generation import Generation
from .methods import METHODS, SERVICE


@dataclass(slots=True)
class LostRights:
    """What was ended, by the client's id. A peer without one counts as ``unknown``."""

    connections: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    unaccepted: int = 0
    """Of the connections those that would not get in again, though they are revoked nowhere."""
    reasons: dict[str, set[str]] = field(default_factory=dict)
    """Why connections have ended."""

    def end_connection(self, client: str, reason: str) -> None:
        """Counts one."""
        self.connections[client] += 1
        self.reasons.setdefault(client, set()).add(reason)

    def by_client(self) -> list[dict[str, object]]:
        """The fields of a line of audit for each client."""
        names = sorted(self.connections.keys() | self.calls.keys() | self.jobs.keys())
        return [
            {
                "client": name,
                "connections_ended": self.connections[name],
                "calls_ended": self.calls[name],
                "jobs_stopped": self.jobs[name],
                **({"reasons": sorted(self.reasons[name])} if name in self.reasons else {}),
            }
            for name in names
        ]

    def totals(self) -> dict[str, int]:
        """The same over all clients."""
        return {
            "connections_ended": self.connections.total(),
            "calls_ended": self.calls.total(),
            "jobs_stopped": self.jobs.total(),
        }


def end_lost_rights(
    server: Server,
    manager: Manager,
    now: Generation,
    refusal_of_peer: Callable[[Peer], str] | None = None,
) -> LostRights:
    """Ends connections of revoked certificates and clients, and of those that would not get in
    again, calls that ``now`` does not grant any more, and jobs whose owners are gone, where its
    ``on_revoke`` says so. ``refusal_of_peer``: why one would not, "" if it would; None: all would.
    """
    lost = LostRights()

    def counted(reason: str, identity: Identity | None) -> bool:
        if reason:
            lost.end_connection("unknown" if identity is None else identity.client_id, reason)
        return bool(reason)

    def has_revoked_certificate(peer: Peer, identity: Identity | None) -> bool:
        found = now.revokes_certificate(peer.certificate, identity)
        return counted("its certificate was revoked" if found else "", identity)

    def is_revoked(peer: Peer, identity: Identity | None) -> bool:
        found = now.revokes_client(identity)
        found = found and not now.revokes_certificate(peer.certificate, identity)
        return counted("it was revoked, by its id" if found else "", identity)

    def is_unaccepted(peer: Peer, identity: Identity | None) -> bool:
        # One without an identity is answered nothing but that, and may stay to read it.
        if refusal_of_peer is None or identity is None or now.revokes_client(identity):
            return False
        if now.revokes_certificate(peer.certificate, identity):
            return False
        found = counted(refusal_of_peer(peer), identity)
        lost.unaccepted += found
        return found

    def refusal_of(identity: Identity, service: str, method: str) -> RpcError | None:
        if service != SERVICE:
            return None
        denial = may_call(now.policy, identity.client_id, METHODS[method].verb)
        if not isinstance(denial, Denial):
            return None
        lost.calls[identity.client_id] += 1
        return denied(denial.message, denial.rule)

    server.revoke(has_revoked_certificate)
    server.revoke(is_revoked, Reason.CLIENT_REVOKED)
    server.revoke(is_unaccepted, Reason.UNACCEPTED)
    server.withdraw(refusal_of)
    lost.jobs = stop_jobs_of_the_gone(manager, now.policy)
    return lost


def stop_jobs_of_the_gone(manager: Manager, policy: Policy) -> Counter[str]:
    """Asks for the end of jobs whose owners are none of the policy's clients, or revoked, where
    ``on_revoke`` says so; how many, by owner. A stop that is under way is joined.

    Also called as a server begins, so that one that dies during a reload changes nothing.
    """
    stopped: Counter[str] = Counter()
    for job in manager.list():
        if fate_of_jobs(policy, job.owner) != "stop":
            continue
        grace_s = None
        if job.stop_asked is None:
            stopped[job.owner] += 1
        elif job.handle:  # with a grace that its owner has chosen, perhaps of an hour
            grace_s = job.started.grace_s
        with contextlib.suppress(Unavailable):  # it is under way, and not on record
            job.ask_stop(by=BY_POLICY, reason="its owner has lost its rights", grace_s=grace_s)
    return stopped
