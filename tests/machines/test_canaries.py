"""Planted bugs: the ordinary search finds each of them, and finds nothing where none is planted.

``pytest -s`` prints which program has found each, in which schedule, and how soon.
"""

from typing import Any

import pytest

from machines.canaries import CANARIES, PLACES, Canary, search
from machines.run import run_many

# Those of which the search needs no more than some dozens of programs; tools/test --all looks for
# all of them.
_SOON = {
    "early_end",
    "foreign_call",
    "unlisted",
    "unsaid_gap",
    "unasked_watch",
}


def _functions() -> list[dict[str, Any]]:
    return [dict(vars(place)) for place in PLACES]


@pytest.mark.parametrize(
    "canary",
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.slow] * (each.name not in _SOON))
        for each in CANARIES
    ],
)
def test_the_search_finds_a_planted_bug(canary: Canary) -> None:
    """And the programs it has played, the one that found it included, hold without it."""
    true = _functions()
    found = search(canary, canary.seed)
    print(found.text())
    assert found.broken is not None, found.text()
    assert any(canary.says in wrong for wrong in found.broken.wrong), found.broken.text()
    assert _functions() == true
    clean = run_many(canary.seed, programs=found.programs + 1)
    assert clean.broken is None, clean.broken.text()
    assert clean.programs == found.programs + 1


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_a_plant_changes_the_product_and_is_taken_away_again(canary: Canary) -> None:
    true = _functions()
    with canary.plant():
        assert _functions() != true
    assert _functions() == true


def test_there_are_enough_of_them() -> None:
    assert len({canary.name for canary in CANARIES}) == len(CANARIES) >= 6
