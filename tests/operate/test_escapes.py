"""Eight programs that run others: that they do, that check warns of an open grammar, and that the
cookbook's rules refuse it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from checked_place import checked_place
from cookbook import Kitchen, of_page
from escapes import Escape, escapes

from penstock.operate.verb_table import call_verb
from penstock.policy.decision import Denial, GrantedStart, may_start
from penstock.policy.explanation import TriedStart
from penstock.policy.policy_file import Policy, parse_policy
from penstock.supervisor.policy_checks import shell_warnings

NAMES = ["find", "tar", "awk", "sed", "git", "env", "xargs", "sort"]
OPEN = """
[classes.c]
[commands.open]
path = "/usr/bin/{name}"
class = "c"
stdin = true
arguments = [{{ repeat = {{ slot = {{ pattern = "-{{0,2}}[ -~]{{1,200}}" }}, max = 9 }} }}]
[clients.bob]
commands = ["open"]
"""


@pytest.fixture(params=NAMES)
def escape(request: pytest.FixtureRequest, tmp_path: Path) -> Escape:
    (found,) = [
        each for each in escapes(tmp_path, tmp_path / "mark") if each.program == request.param
    ]
    return found


@pytest.fixture(scope="module")
def cookbook(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return parse_policy(Kitchen(tmp_path_factory.mktemp("kitchen")).policy().encode())


def test_the_way_out_is_one(escape: Escape, tmp_path: Path) -> None:
    """The real program of this machine runs what its arguments say."""
    program = shutil.which(escape.program)
    if program is None:
        pytest.skip(f"NOT RUN: there is no {escape.program} here")
    subprocess.run([program, *escape.words], cwd=tmp_path, input=b"x\n", check=False, timeout=20)
    assert (tmp_path / "mark").exists()


def test_an_open_grammar_grants_it_and_is_warned_of(escape: Escape) -> None:
    policy = parse_policy(OPEN.format(name=escape.program).encode())
    start = TriedStart("open", escape.words, stdin=True)
    assert isinstance(may_start(policy, "bob", start), GrantedStart)
    (warning,) = shell_warnings(policy)
    assert warning.startswith(f"commands.open: /usr/bin/{escape.program} ")


def test_check_warns_of_all_eight(capsys: pytest.CaptureFixture[str]) -> None:
    """In one policy, with its file and line, and accepts it: an operator may mean it."""
    text, lines = '[classes.c]\nneeds = { all = "best_effort" }\n', {}
    for name in NAMES:
        lines[name] = text.count("\n") + 1
        text += (
            f'[commands.{name}]\npath = "/usr/bin/{name}"\nclass = "c"\n'
            'arguments = [{ pattern = "-{0,2}[ -~]{1,200}" }]\n'
        )
    with checked_place(f"{text}[clients.bob]\ncommands = {json.dumps(NAMES)}\n") as place:
        assert call_verb(["check", "--config", str(place.config)]) == 0
        warnings = capsys.readouterr().err.splitlines()
        for name, line in lines.items():
            begins = f"warning: {place.policy}:{line}: commands.{name}: /usr/bin/{name} "
            assert [each for each in warnings if each.startswith(begins)], (name, warnings)


def test_the_cookbooks_rules_refuse_it_and_nothing_is_warned_of(
    escape: Escape, cookbook: Policy
) -> None:
    assert cookbook.commands[escape.command].path == f"/usr/bin/{escape.program}"
    for stdin in (False, cookbook.commands[escape.command].control.stdin):
        decision = may_start(cookbook, "bob", TriedStart(escape.command, escape.words, stdin=stdin))
        assert isinstance(decision, Denial)
        assert decision.rule == f"commands.{escape.command}.arguments"
    assert shell_warnings(cookbook) == []


def test_the_page_has_a_case_of_it(escape: Escape) -> None:
    lines = [line for block in of_page("cases") for line in block.text.splitlines()]
    assert any(
        line.startswith("bob deny") and escape.command in line and escape.sign in line
        for line in lines
    )
