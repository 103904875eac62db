"""The man page is that of the declarations, and shows all of them."""

import os
import shutil
import subprocess

import asyncclick as click
import pytest
from _man_page import PAGE, escaped, man_page

from penstock.cli.root import root
from penstock.cli.verbs import ALIASES, VERBS


def test_it_is_fresh() -> None:
    """Otherwise: tools/gen_man."""
    assert PAGE.read_text() == man_page(), "old: run tools/gen_man"


@pytest.fixture(scope="module")
def shown() -> str:
    """The page as a terminal of 1000 columns shows it, so that no line is broken."""
    if shutil.which("groff") is None:
        reason = "NOT TESTED: no groff here (Debian: groff-base)"
        if os.environ.get("PENSTOCK_TEST_EVERYTHING"):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-c", "-P-b", "-P-o", "-P-u", "-rLL=1000n", str(PAGE)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return " ".join(done.stdout.split())


def verbs(group: click.Group, path: str = "") -> list[tuple[str, click.Command]]:
    found = []
    for name, verb in group.commands.items():
        if isinstance(verb, click.Group):
            found += verbs(verb, f"{path}{name} ")
        elif name not in ALIASES:
            found.append((path + name, verb))
    return found


@pytest.mark.parametrize(("name", "verb"), verbs(root))
def test_a_verb_with_its_options_and_examples(shown: str, name: str, verb: click.Command) -> None:
    """To the letter: what is copied from the page can be pasted."""
    assert f" {name} penstock {name} " in shown
    for each in verb.params:
        if isinstance(each, click.Option) and each.expose_value:
            assert ", ".join(each.opts) in shown
            assert " ".join((each.help or "").split()) in shown
    for line in (verb.epilog or "").splitlines()[2:]:
        assert " ".join(line.split()) in shown


def test_global_options_statuses_and_other_names(shown: str) -> None:
    for each in root.params:
        assert " ".join((each.help or "").split()) in shown
    for text in ("124 Deadline", "128 + N Run, attach", "PENSTOCK_ADDR The server"):
        assert text in shown
    for alias in ALIASES:
        assert f"Also: {alias}" in shown or VERBS[alias].hidden


def test_what_roff_would_obey_is_text() -> None:
    """As it begins a line, and inside."""
    assert escaped(".SH x") == "\\&.SH x"
    assert escaped("'x' -a \\n") == "\\(aqx\\(aq \\-a \\en"
