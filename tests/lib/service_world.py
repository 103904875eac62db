"""CommandService over the fake backend, called without a connection in between."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from fake_backend import FakeBackend
from generations import in_force

from penstock.jobs.manager import Manager, open_manager
from penstock.policy.policy_file import ClientPolicy, Policy, parse_policy
from penstock.proto import command_pb2 as pb
from penstock.server.audit import AuditError, AuditLog
from penstock.server.authn import Identity
from penstock.server.refusal_budget import RefusalBudget
from penstock.server.repeat_budget import RepeatBudget
from penstock.server.service import CommandService
from penstock.server.service_info import HostInfo

POLICY_TEXT = b"""
[classes.free]
needs = { all = "best_effort" }
[commands.sleep]
path = "/bin/sleep"
class = "free"
[commands.print]
path = "/bin/echo"
class = "free"
arguments = [{ repeat = { slot = { pattern = "[a-z]{0,255}" }, max = 200 } }]
[clients.alice]
commands = ["sleep", "print"]
max_running = 2
max_streams = 1
"""


class World:
    def __init__(
        self, directory: Path, backend: FakeBackend, manager: Manager, policy_text: bytes
    ) -> None:
        self.backend = backend
        self.manager = manager
        self.audit_path = directory / "audit"
        self.audit = AuditLog(str(self.audit_path))
        policy: Policy = parse_policy(policy_text)
        assert isinstance(policy.clients["alice"], ClientPolicy)
        host = HostInfo("user", "none", (), ())
        self.suppressed: list[tuple[str, int]] = []
        self.limit = RefusalBudget(
            trio.current_time, lambda who, count: self.suppressed.append((who, count)), per_minute=5
        )
        self.in_force = in_force(policy)
        self.service = CommandService(
            manager, self.in_force, self.audit, host, trio.current_time, self.limit
        )
        self.repeated: list[tuple[str, str, dict[str, Any], int]] = []
        self.repeats = RepeatBudget(
            trio.current_time,
            lambda who, verb, about, count: self.repeated.append((who, verb, dict(about), count)),
        )

    def count_repeats(self) -> None:
        """From now on, as the server does; else each grant has its line."""
        self.service.access.lines.repeats = self.repeats

    async def stream(
        self, request: pb.StreamOutputRequest
    ) -> AsyncGenerator[pb.StreamOutputResponse, None]:
        """What alice's stream brings her, as it arrives."""
        async with aclosing(self.service.StreamOutput(request, asked_by("alice"))) as messages:
            async for message in messages:
                whole = pb.StreamOutputResponse.FromString(message.SerializeToString())
                yield whole  # noqa: ASYNC119  # its users close it

    def decisions(self) -> list[dict[str, Any]]:
        """The audit log's lines."""
        return [json.loads(line) for line in self.audit_path.read_text().splitlines()]

    def refusals(self) -> list[dict[str, Any]]:
        """Those of them that refuse."""
        return [line for line in self.decisions() if not line["allowed"]]


def failing(event: str, **fields: object) -> None:
    """In the place of an audit log's ``write``, on a full disk."""
    raise AuditError("audit log: No space left on device")


def asked_by(client: str) -> Any:
    identity = Identity(client, "issuer", "1", datetime.now(UTC))
    return SimpleNamespace(context=SimpleNamespace(identity=identity))


@asynccontextmanager
async def world(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: FakeBackend,
    policy_text: bytes = POLICY_TEXT,
) -> AsyncIterator[World]:
    monkeypatch.setattr("penstock.jobs.manager.SHUTDOWN_GRACE_S", 0.1)
    async with open_manager(backend, str(tmp_path / "state")) as manager:
        made = World(tmp_path, backend, manager, policy_text)
        try:
            yield made
        finally:
            made.audit.close()
