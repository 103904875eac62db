"""What a command's policy says of its running jobs, and signals as people write them."""

import pytest

from penstock.policy.control_policy import Control, control_of
from penstock.policy.policy_file import PolicyError, parse_policy
from penstock.policy.signal_names import parse_signal, signal_name

POLICY = """
[classes.free]
needs = { all = "best_effort" }
[commands.x]
path = "/bin/x"
class = "free"
%s
"""


def control(text: str) -> Control:
    return parse_policy((POLICY % text).encode()).commands["x"].control


def test_without_its_keys_all_is_as_it_was() -> None:
    """TERM to the main process, no input, every signal."""
    assert control("") == Control(15, stop_tree=False, signals=None, stdin=False)
    assert control("").admits(9)


def test_what_is_written_holds() -> None:
    """And passes through JSON, as the supervisor tells it."""
    text = 'stop_signal = "SIGINT"\nstop_to = "tree"\nsignals = ["HUP", "10"]\nstdin = true'
    found = control(text)
    assert found == Control(2, stop_tree=True, signals=frozenset({1, 10}), stdin=True)
    assert (found.admits(1), found.admits(9)) == (True, False)
    assert control_of(found.fields()) == found
    assert control_of(None) == Control()
    assert control("signals = []").signals == frozenset()


def test_mistakes_are_named() -> None:
    """Each with its key."""
    text = 'stop_signal = "BYE"\nstop_to = "all"\nsignals = ["0", "HUP", "65"]\nstdin = "yes"'
    with pytest.raises(PolicyError) as caught:
        control(text)
    told = "\n".join(caught.value.mistakes)
    assert "commands.x.stop_signal: 'BYE' is no signal" in told
    assert "commands.x.stop_to: 'all' is unknown" in told
    assert "commands.x.signals: '0' is no signal" in told
    assert "commands.x.signals: '65' is no signal" in told
    assert "commands.x.stdin" in told


@pytest.mark.parametrize(
    ("text", "number"), [("TERM", 15), ("SIGTERM", 15), ("15", 15), ("64", 64), ("RTMIN", 34)]
)
def test_a_signal_has_many_names(text: str, number: int) -> None:
    """With SIG, without, and as a number."""
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "-9", "+9", "term", "SIG", "٩", "9 ", "x" * 999])
def test_anything_else_is_none(text: str) -> None:
    """And is named at a bounded length."""
    with pytest.raises(ValueError, match="is no signal") as caught:
        parse_signal(text)
    assert len(str(caught.value)) < 60


def test_a_number_has_a_name() -> None:
    """Where it has one."""
    assert [signal_name(number) for number in (9, 33, 34, 40)] == ["KILL", "33", "RTMIN", "40"]
