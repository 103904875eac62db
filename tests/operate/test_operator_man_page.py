"""penstockd(8) is that of the verbs' parsers, and shows all of them."""

import os
import shutil
import subprocess

import pytest
from _operator_man_page import OPERATOR_PAGE, operator_man_page

from penstock.operate.verb_table import VERBS, verb_module


def test_it_is_fresh() -> None:
    """Otherwise: tools/gen_man. However wide the terminal is that makes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "40")
        assert OPERATOR_PAGE.read_text() == operator_man_page(), "old: run tools/gen_man"


def test_each_verb_is_shown_with_its_options_and_examples() -> None:
    """To the letter: what is copied from the page can be pasted."""
    if shutil.which("groff") is None:
        reason = "NOT TESTED: no groff here (Debian: groff-base)"
        if os.environ.get("PENSTOCK_TEST_EVERYTHING"):
            pytest.fail(reason)
        pytest.skip(reason)
    form = ["-man", "-ww", "-Tutf8", "-P-c", "-P-b", "-P-o", "-P-u", "-rLL=1000n"]
    done = subprocess.run(
        ["groff", *form, str(OPERATOR_PAGE)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    shown = " ".join(done.stdout.split())
    for name in VERBS:
        parser = verb_module(name).parser()
        assert f" {name} penstockd {name} " in shown
        assert " ".join((parser.description or "").split()) in shown
        for action in parser._actions[1:]:
            assert ", ".join(action.option_strings) in shown
            assert (action.help or "") % {"default": action.default} in shown
        for line in (parser.epilog or "").splitlines():
            assert " ".join(line.split()) in shown
