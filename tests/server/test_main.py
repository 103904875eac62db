"""The server process's own parts, without a supervisor."""

from pathlib import Path
from typing import Any

import pytest
import trio

from penstock.server.audit import AuditLog
from penstock.server.main import _AuditTrail
from penstock.server.refusal_budget import RefusalBudget
from penstock.server.repeat_budget import INTERVAL_S, RepeatBudget


@pytest.mark.mock_clock
async def test_counts_are_told_though_nobody_comes_any_more(tmp_path: Path) -> None:
    """Of refusals and of reads, a few seconds after their minute; and once."""
    told: list[tuple[Any, ...]] = []
    refusals = RefusalBudget(trio.current_time, lambda *what: told.append(what), per_minute=1)
    repeats = RepeatBudget(trio.current_time, lambda *what: told.append(what))
    trail = _AuditTrail(AuditLog(str(tmp_path / "audit")), refusals, repeats)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trail.tell_regularly)
        for _ in range(3):
            refusals.take("carol")
            repeats.take("alice", "list", {})
        await trio.sleep(INTERVAL_S - 1)
        assert told == []
        await trio.sleep(7)
        assert told == [("carol", 2), ("alice", "list", {}, 2)]
        await trio.sleep(3 * INTERVAL_S)
        assert len(told) == 2
        nursery.cancel_scope.cancel()
    trail.audit.close()
