"""The contract: generated code is fresh, and nothing of what clients may rely on changes.

Three guards. tests/fixed/teleport/ is the table that every client ever made relies on.
tests/fixed/contract.txt is all of the contract as it is now, what was added since the last
release included. tests/fixed/released/ is the last released file, with which ``buf breaking``
compares today's (tests/interop/test_contract.py, in tools/test --all).
"""

import subprocess
import sys
from pathlib import Path

import pytest
from contract import contract, described

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "fixed" / "contract.txt"


def test_generated_code_is_fresh() -> None:
    """What is committed is what tools/gen_proto would write."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "gen_proto", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_fixed_table_is_a_part_of_the_contract(tmp_path: Path) -> None:
    """Names, numbers, types and labels of every field, and every RPC with its kind."""
    fixed = described(ROOT / "tests" / "fixed", tmp_path / "fixed")
    today = described(ROOT / "proto", tmp_path / "today")
    assert (fixed.package, fixed.syntax) == (today.package, today.syntax)
    messages = {message.name: message for message in today.message_type}
    for message in fixed.message_type:
        fields = {field.number: field for field in messages[message.name].field}
        for field in message.field:
            assert fields[field.number] == field
        # Additions begin at 3, so that they can be told from the fixed part at a glance.
        assert all(
            number >= 3 for number in fields.keys() - {field.number for field in message.field}
        )
    (fixed_service,), (service,) = fixed.service, today.service
    assert fixed_service.name == service.name
    methods = {method.name: method for method in service.method}
    for method in fixed_service.method:
        assert methods[method.name] == method


def check_table(today: list[str], table: list[str]) -> None:
    """The table is what the contract is: to the letter, in any order."""
    broken = sorted(set(table) - set(today))
    assert broken == [], "clients rely on these; a change or removal breaks them: restore them"
    added = sorted(set(today) - set(table))
    assert added == [], f"additions: each gets its line in {TABLE.relative_to(ROOT)}, for ever"
    assert len(table) == len(set(table))


def recorded() -> list[str]:
    """The table's lines."""
    lines = TABLE.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_nothing_of_the_contract_is_altered(tmp_path: Path) -> None:
    """No field, enum value or method is renumbered, retyped, renamed or gone, new ones included."""
    check_table(contract(described(ROOT / "proto", tmp_path / "today")), recorded())


# What a hand may do to the contract, as text before and after, and what then is broken or added.
CHANGES = {
    "an addition renumbered": ("double timeout_s = 6;", "double timeout_s = 16;"),
    "a field of the fixed part renumbered": (
        "string command = 1;\n  rep",
        "string command = 50;\n  rep",
    ),
    "retyped": ("double timeout_s = 6;", "float timeout_s = 6;"),
    "another message's type": ("EventLoopLag lag = 21;", "Limits lag = 21;"),
    "renamed": ("double timeout_s = 6;", "double timeout = 6;"),
    "no longer repeated": ("repeated string argv = 3;", "string argv = 3;"),
    "without presence": ("optional uint64 tail_lines = 6;", "uint64 tail_lines = 6;"),
    "into a oneof": ("bool eof = 4;", "oneof end { bool eof = 4; }"),
    "removed": ("  bool validate_only = 7;\n", ""),
    "removed and reserved": ("  bool validate_only = 7;\n", "  reserved 7;\n"),
    "another key of a map": ("map<string, string> env = 5;", "map<int32, string> env = 5;"),
    "an enum's value renumbered": ("STREAM_STDERR = 2;", "STREAM_STDERR = 3;"),
    "an enum's value renamed": ("JOB_STATE_ENDING = 4;", "JOB_STATE_GOING = 4;"),
    "an enum's value removed": ("  JOB_STATE_ENDING = 4;\n", ""),
    "a method removed": ("  rpc Remove(RemoveRequest) returns (RemoveResponse);\n", ""),
    "a method renamed": ("rpc Pause(", "rpc Suspend("),
    "a method that no longer streams": ("(stream SendInputRequest)", "(SendInputRequest)"),
    "another answer": ("returns (WaitResponse)", "returns (StatusResponse)"),
    "the package renamed": ("package teleport;", "package penstock;"),
    "a field added": ("  bool stdin = 10;\n", "  bool stdin = 10;\n  bool added = 99;\n"),
    "a value added": ("STREAM_STDERR = 2;", "STREAM_STDERR = 2;\n  STREAM_ADDED = 3;"),
    "a message added": (
        "message ServerInfoRequest {}",
        "message ServerInfoRequest {}\nmessage Added {}",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_kind_of_change_is_noticed(what: str, tmp_path: Path) -> None:
    """Planted into a copy; an addition asks for its line, anything else says what it breaks."""
    before, after = CHANGES[what]
    text = (ROOT / "proto" / "teleport" / "command.proto").read_text()
    assert text.count(before) == 1
    changed = tmp_path / "proto" / "teleport" / "command.proto"
    changed.parent.mkdir(parents=True)
    changed.write_text(text.replace(before, after))
    lines = contract(described(tmp_path / "proto", tmp_path / "changed"))
    with pytest.raises(AssertionError, match="additions" if "added" in what else "rely on these"):
        check_table(lines, recorded())


def test_the_released_contract_is_a_part_of_todays(tmp_path: Path) -> None:
    """What ``buf breaking`` compares with, seen without it."""
    released = contract(described(ROOT / "tests" / "fixed" / "released", tmp_path / "released"))
    assert set(released) <= set(contract(described(ROOT / "proto", tmp_path / "today")))
