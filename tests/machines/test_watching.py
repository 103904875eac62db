"""Watching clients: each change in order, over crashes and cuts; what is skipped is told."""

from collections import Counter
from typing import Any

import pytest

from machines.programs import Act, Actor, Behaviour, Fault, Op, Program
from machines.run import run, seeded
from machines.watching import Watching


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many messages of each kind watchers were given."""
    counts: Counter[str] = Counter()
    true = Watching.take

    def take(self: Watching, message: Any, disturbed_at: float) -> None:
        kind = "change" if message.handle else "resync" if message.resync else "begin"
        counts[kind] += 1
        true(self, message, disturbed_at)

    monkeypatch.setattr(Watching, "take", take)
    return counts


def test_programs_about_watchers_hold_and_are_about_them(seen: Counter[str]) -> None:
    """Of a seed one in ten is; some of their tables are so small that watchers must list."""
    lives = 0
    for number in range(0, 600, 10):
        lives += run(*seeded(f"watching:{number}")).lives
    assert seen["begin"] > 20
    assert seen["change"] > 20
    assert seen["resync"] > 0
    assert lives > 60


def test_a_watch_over_a_crash(seen: Counter[str]) -> None:
    """C63: of one job from its start to its removal, through two servers."""
    job = Behaviour((Act("sleep", seconds=5.0),))
    ops = (Op("start", after=0.5), Op("pause"), Op("resume"), Op("stop", after=2.0), Op("remove"))
    actors = (Actor("alice", (Op("watch", number=2),)), Actor("alice", ops))
    result = run(Program(actors, (job,), (Fault("crash", at=1.0),)))
    told = [(who, what) for _, who, what in result.timeline.lines]
    assert ("alice.1", "remove: done") in told
    assert result.lives == 2
    assert seen == {"begin": 1, "change": 6}
