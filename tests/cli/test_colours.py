"""Colours: on a terminal, and as the environment says."""

import pytest

from penstock.cli.colours import painted, wants_colours

XTERM = {"TERM": "xterm"}


@pytest.mark.parametrize(
    ("terminal", "environment", "wanted"),
    [
        (True, XTERM, True),
        (False, XTERM, False),
        (True, {}, False),
        (True, {"TERM": "dumb"}, False),
        (True, XTERM | {"NO_COLOR": "1"}, False),
        (True, XTERM | {"NO_COLOR": ""}, True),  # no-color.org: "when present and not an empty"
        (True, XTERM | {"CLICOLOR": "0"}, False),
        (False, {"CLICOLOR_FORCE": "1"}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0"}, False),
        (False, {"CLICOLOR_FORCE": ""}, False),
        (True, XTERM | {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_who_gets_colours(terminal: bool, environment: dict[str, str], wanted: bool) -> None:
    """NO_COLOR is honoured before everything else."""
    assert wants_colours(terminal=terminal, environment=environment) == wanted


def test_blanks_are_not_painted() -> None:
    """They would be, where a style underlines."""
    assert painted("ok  ", "green") == "\x1b[32mok\x1b[0m  "
    assert painted("  ", "green") == "  "
    assert painted("ok", None) == "ok"
