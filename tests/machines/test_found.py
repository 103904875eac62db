"""Programs that once broke a promise, each a line of found.txt: they hold now.

A full disk that for a moment took not even a gap lost what a job had written last; and records that
could not be written held up a job's last words. A server that was killed just as a full disk had
made it drop all it had kept forgot how much that was. Twice it was the judge that was wrong: what
callers had given up was still on its way, or starting, when the end was looked at. A job's last
bytes, moved in the moment in which a server left its jobs, opened a segment that nobody closed. And
a stop in the moment in which a job's end was heard of was taken for what had ended it. A stop of
a job that was given up asked for ever. The judge again: the end of an input comes through the
supervisor, and so not while that stands still. Last, a sender was told that input is accepted which
a failing disk had just kept from being noted: server and supervisor died, and nobody knew of it.
"""

from pathlib import Path

import pytest

from machines.programs import parse
from machines.run import run

FOUND = Path(__file__).with_name("found.txt").read_text().splitlines()


@pytest.mark.parametrize("text", FOUND, ids=[str(at) for at in range(len(FOUND))])
def test_it_holds_now(text: str) -> None:
    """As tools/stress --replay would play it."""
    result = run(*parse(text))
    assert result.steps > 100
