"""What a reload acts on, each in memory: whom it was told to end, and what it was told to use."""

import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from penstock.jobs.retention_settings import RetentionSettings
from penstock.rpc.call_errors import Reason
from penstock.rpc.grpc_server import Peer
from penstock.server.audit import AuditLog
from penstock.server.authn import identify
from penstock.server.generation import InForce
from penstock.server.service_info import HostInfo
from penstock.server.switching import Switching


class FakeServer:
    """Connections of these peers, without a byte between them."""

    def __init__(self, *peers: Peer) -> None:
        self.peers = peers
        self.revoked: list[Peer] = []
        self.reasons: set[Reason] = set()
        self.ended_for: dict[Reason, list[Peer]] = {}
        self.context: ssl.SSLContext | None = None
        self.on_revoke: Callable[[], None] = lambda: None
        self.calls: list[tuple[Peer, str]] = []
        """Calls that run, by their methods."""
        self.ended: list[tuple[Peer, str, str]] = []
        """Those that were ended, and by which text."""

    def revoke(self, revoked: Callable[[Peer, Any], bool], reason: Reason = Reason.REVOKED) -> int:
        found = [peer for peer in self.peers if revoked(peer, identify(peer.certificate))]
        self.reasons.add(reason)
        self.revoked += found
        if found:
            self.ended_for.setdefault(reason, []).extend(found)
        self.on_revoke()
        return len(found)

    def withdraw(self, refusal_of: Any) -> int:
        for peer, method in list(self.calls):
            error = refusal_of(identify(peer.certificate), "teleport.CommandService", method)
            if error is not None:
                self.calls.remove((peer, method))
                self.ended.append((peer, method, f"{error.code.name}: {error.message}"))
        return len(self.ended)

    def connected(self) -> list[Peer]:
        return list(self.peers)

    def use_ssl_context(self, context: ssl.SSLContext) -> None:
        self.context = context


class FakeJobs:
    """The manager's part: no jobs, but what is kept of them."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.kept: list[RetentionSettings] = []

    def list(self) -> list[Any]:
        return self.jobs

    def use(self, keeping: RetentionSettings) -> None:
        self.kept.append(keeping)


class FakeSupervisor:
    """The backend's part: what WELCOME has said, and what was answered."""

    def __init__(self) -> None:
        self.mode, self.kind = "user", "tree"
        self.limits: list[Any] = []
        self.warnings: list[str] = []
        self.userless: dict[str, str] = {}
        self.answers: list[tuple[int, list[str], list[str]]] = []
        self.reloads: Any = SimpleNamespace(
            welcome=SimpleNamespace(reload={}, settings="{}", generation="g"),
            prepared=self._prepared,
        )

    def _prepared(self, number: int, mistakes: Any = (), warnings: Any = ()) -> None:
        self.answers.append((number, list(mistakes), list(warnings)))


class Parts:
    """All of them, and the Switching over them."""

    def __init__(self, in_force: InForce, audit: AuditLog, *peers: Peer) -> None:
        self.server = FakeServer(*peers)
        self.jobs = FakeJobs()
        self.supervisor = FakeSupervisor()
        self.hosts: list[HostInfo] = []
        service: Any = SimpleNamespace(use_host=self.hosts.append)
        server: Any = self.server
        jobs: Any = self.jobs
        supervisor: Any = self.supervisor
        self.switching = Switching(in_force, server, service, jobs, supervisor, audit, "/c")
