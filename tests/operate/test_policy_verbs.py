"""``penstockd policy test`` and ``policy explain``: what they print, and how they end."""

import json
from pathlib import Path

import pytest

from penstock.operate.verb_table import VERBS, call_verb, verb_module

POLICY = """\
[classes.c]
[commands.seq]
path = "/usr/bin/seq"
class = "c"
arguments = [
    { int = { min = 1, max = 9 } },
]
[clients.alice]
commands = ["seq"]
[clients.bob]
commands = []
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return str(path)


def cases(tmp_path: Path, text: str) -> str:
    path = tmp_path / "cases"
    path.write_text(text)
    return str(path)


def test_a_table_that_holds(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = cases(tmp_path, "alice allow seq 5\nbob deny seq 5\neve deny seq 5\n")
    assert call_verb(["policy", "test", policy, table]) == 0
    shown = capsys.readouterr()
    assert shown.out == "3 cases, all as expected; no clients of the policy: eve\n"
    assert shown.err == ""


def test_each_case_that_fails_is_named_with_what_decided(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = cases(tmp_path, "alice deny seq 5\nalice allow seq 50\nbob allow seq 5\n")
    assert call_verb(["policy", "test", policy, table]) == 1
    first, second, third, summary = capsys.readouterr().out.splitlines()
    assert first == (
        f"{table}:1: alice seq 5: expected deny, but it is granted by clients.alice.commands "
        "(policy.toml:9), and its arguments are: '5' by commands.seq.arguments[0].int "
        "(policy.toml:6)"
    )
    assert second.startswith(
        f"{table}:2: alice seq 50: expected allow, but it is denied by commands.seq.arguments "
        "(policy.toml:5): argument 1, '50', is not granted"
    )
    assert "denied by clients.bob.commands (policy.toml:11)" in third
    assert summary == "3 cases, 3 not as expected"


def test_a_grant_that_no_case_uses_is_named(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = cases(tmp_path, "alice deny seq 50\n")
    assert call_verb(["policy", "test", policy, table, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["untried"] == [{"client": "alice", "command": "seq"}]
    assert found["ok"] is True
    assert found["cases"][0]["rule"] == "commands.seq.arguments"


def test_mistakes_of_both_files_end_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "policy.toml"
    wrong.write_text("[commands.x]\n")
    table = cases(tmp_path, "alice\n")
    assert call_verb(["policy", "test", str(wrong), table]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{wrong}:1: commands.x.path: is missing" in shown.err
    assert f"{table}:1: a client alone" in shown.err
    assert call_verb(["policy", "test", str(tmp_path / "gone"), str(tmp_path / "away")]) == 2
    assert capsys.readouterr().err.count("No such file") == 2
    assert call_verb(["policy", "test", str(wrong), cases(tmp_path, "# nothing\n")]) == 2
    assert "there is no case in it" in capsys.readouterr().err


def test_a_line_is_explained(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["policy", "explain", policy, "--client", "alice"]
    assert call_verb([*words, "--", "seq", "5"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "granted: alice may start seq",
        "by clients.alice.commands (policy.toml:9)",
        "runs /usr/bin/seq 5",
        "as user auto, class c",
        "argument 1 '5' is an integer from 1 to 9: commands.seq.arguments[0].int (policy.toml:6)",
    ]
    assert call_verb([*words, "-o", "json", "--", "seq", "-5"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["line"] == 5
    assert [use["line"] for use in found["open"]] == [6]
    with pytest.raises(SystemExit, match="2"):
        call_verb([*words, "seq", "5"])
    assert "policy explain: error: write -- before the command" in capsys.readouterr().err
    assert call_verb([*words, "--"]) == 2
    assert "no command" in capsys.readouterr().err
    assert call_verb(["policy", "explain", "/no/such", "--client", "a", "--", "x"]) == 2
    assert "/no/such: No such file" in capsys.readouterr().err


def test_what_the_file_does_not_have_is_on_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither on that of the first client, nor on one that says something else."""
    path = tmp_path / "policy.toml"
    path.write_text(
        '[classes.c]\n[commands.true]\npath = "/bin/true"\nclass = "c"\n'
        '[clients.alice]\ncommands = ["true"]\n'
    )
    words = ["policy", "explain", str(path), "--client"]
    assert call_verb([*words, "alcie", "--", "true"]) == 1
    assert "by clients.alcie (not in policy.toml)" in " ".join(capsys.readouterr().out.split())
    assert call_verb([*words, "alcie", "-o", "json", "--", "true"]) == 1
    assert json.loads(capsys.readouterr().out)["line"] is None
    assert call_verb([*words, "alice", "--", "true", "x"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "argument 1, 'x', is not granted: the command takes no arguments" in said
    assert "by commands.true.arguments (not set in the table at policy.toml:2)" in said


@pytest.mark.parametrize("words", [["polcy"], ["polic", "test"], ["start"], ["--confg", "x"]])
def test_a_word_that_is_no_verb_is_a_mistake(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call_verb(words) == 2
    assert f"no verb {words[0]!r}" in capsys.readouterr().err


def test_help_names_every_verb_and_each_has_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert call_verb(["--help"]) == 0
    overview = capsys.readouterr().out
    assert call_verb(["policy", "--help"]) == call_verb(["policy", "-h"]) == 0
    of_group = capsys.readouterr().out
    assert all(VERBS[name].summary in of_group for name in ("policy test", "policy explain"))
    assert call_verb(["policy"]) == 2
    assert "policy test or policy explain" in capsys.readouterr().err
    assert call_verb([]) == 2
    assert capsys.readouterr().err == overview
    for name, verb in VERBS.items():
        assert f"  {name} " in overview
        assert verb.summary in overview
        shown = verb_module(name).parser().format_help()
        assert shown.startswith(f"usage: penstockd {name} ")
        assert "exit status: 0" in shown
        assert max(map(len, shown.splitlines())) <= 100


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call_verb(["--version"]) == 0
    assert capsys.readouterr().out.startswith("penstockd ")


@pytest.mark.parametrize("spoilt", ["no TOML [", "[clients.alice]\n", None])
def test_programs_learn_of_mistakes_too(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoilt: str | None
) -> None:
    """With -o json stdout has an object however a verb ends, and stderr the same in words."""
    if spoilt is None:
        Path(policy).unlink()
    else:
        Path(policy).write_text(spoilt)
    config = tmp_path / "penstockd.toml"
    config.write_text(f'policy = "{policy}"\n')
    table = cases(tmp_path, "alice allow seq 1\nalice perhaps seq\n")
    for words, others in (
        (["policy", "test", policy, table], {(table, 2)}),
        (["policy", "explain", policy, "--client", "alice"], set()),
        (["doctor", "--config", str(config)], None),
    ):
        assert call_verb([*words, "-o", "json"]) == 2
        out, err = capsys.readouterr()
        found = json.loads(out)
        assert found["ok"] is False
        assert all(each["what"] and each["remedy"] for each in found["mistakes"])
        if others is not None:
            places = {(each["file"], each["line"]) for each in found["mistakes"]}
            assert places == {(policy, None if spoilt is None else 1)} | others
        assert err.count("\n") == len(found["mistakes"])


def test_a_verb_that_is_mistyped_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call_verb(["polciy", "test"]) == 2
    assert "did you mean 'policy'?" in capsys.readouterr().err
