"""What is recorded of a stop, and what a server that takes it over makes of that.

The stop itself, with its signals and its grace, is driven by tests/jobs/test_control.py.
"""

from dataclasses import asdict

import pytest

from penstock.jobs.job_rows import DAMAGE
from penstock.jobs.stop_notes import StopAsked, StopNotes


def test_notes_of_no_stop_say_nothing() -> None:
    """A row of an earlier version, or of a stop by the output's policy, has not all of them."""
    assert asdict(StopNotes()) == {
        "by": None,
        "reason": "",
        "grace_s": 0.0,
        "signal": None,
        "escalated": False,
        "output_full": False,
        "output_errno": None,
    }


def test_a_grace_is_a_number_of_seconds_or_damage() -> None:
    notes = StopNotes.of({"by": "alice", "reason": "enough", "grace_s": 3})
    assert notes == StopNotes("alice", "enough", 3.0)
    assert isinstance(notes.grace_s, float)
    for grace_s in ("soon", None):
        with pytest.raises(DAMAGE):
            StopNotes.of({"by": "alice", "grace_s": grace_s})


async def test_the_next_server_knows_the_stop_as_it_was_asked() -> None:
    asked = StopNotes("alice", "enough", 2.5, 12).asked()
    assert asked is not None
    assert (asked.by, asked.reason, asked.signal) == ("alice", "enough", 12)
    assert asked.grace_s(60.0) == 2.5
    assert StopNotes(reason="full", grace_s=2.5, output_full=True).asked() is None


async def test_of_several_graces_the_shortest_counts() -> None:
    asked = StopAsked("alice", "enough", None)
    assert asked.grace_s(60.0) == 60.0
    asked.add(9.0)
    asked.add(30.0)
    assert (asked.grace_s(60.0), asked.grace_s(5.0)) == (9.0, 5.0)
    assert StopAsked("alice", "enough", 7.0).grace_s(5.0) == 7.0
