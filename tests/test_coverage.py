"""tools/_coverage.py: what of jobs, rpc, policy and service the tests reached, held at 95 %."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "penstock"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("_coverage")


def summary(statements: tuple[int, int], branches: tuple[int, int]) -> dict[str, Any]:
    """One file of a report: of each the ones reached, and all."""
    return {
        "summary": {
            "covered_lines": statements[0],
            "num_statements": statements[1],
            "covered_branches": branches[0],
            "num_branches": branches[1],
        }
    }


def report(**changed: Mapping[str, Any]) -> dict[str, Any]:
    """Everything reached, but for the files that are given, by name with __ for the slash."""
    files = {
        f"/somewhere/penstock/lib/penstock/{path.relative_to(SOURCE)}": summary((20, 20), (4, 4))
        for path in SOURCE.rglob("*.py")
        if "proto" not in path.parts  # generated: coverage leaves it out
    }
    for name, file in changed.items():
        files[f"/somewhere/penstock/lib/penstock/{name.replace('__', '/')}.py"] = dict(file)
    return {"meta": {"branch_coverage": True}, "files": files}


def run(tool: ModuleType, tmp_path: Path, content: Mapping[str, Any]) -> int:
    path = tmp_path / "coverage.json"
    path.write_text(json.dumps(content))
    status: int = tool.main([str(path)])
    return status


def test_enough_is_printed_for_each_group(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every group has its line, with both figures."""
    assert run(tool, tmp_path, report()) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["jobs", "rpc", "policy", "service"]
    assert all(line.count("100.0 %") == 2 for line in lines)


@pytest.mark.parametrize(
    ("file", "group"),
    [
        ("jobs__output__output_log", "jobs"),
        ("rpc__http2__frames", "rpc"),
        ("policy__grammar", "policy"),
        ("server__main", "service"),
    ],
)
def test_too_few_branches_fail_by_themselves(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, group: str
) -> None:
    """Thousands of statements that were reached do not make up for branches that were not."""
    assert run(tool, tmp_path, report(**{file: summary((9000, 9000), (40, 80))})) == 1
    below = [line for line in capsys.readouterr().out.splitlines() if "below 95.0 %" in line]
    assert [line.split()[0] for line in below] == [group]


def test_too_few_statements_fail(tool: ModuleType, tmp_path: Path) -> None:
    assert run(tool, tmp_path, report(jobs__output__output_log=summary((0, 9000), (0, 0)))) == 1


def test_a_percentage_is_never_rounded_up(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """94.99 % is below 95.0 %, and is not printed as such."""
    empty = {
        "__".join(path.relative_to(SOURCE).with_suffix("").parts): summary((0, 0), (0, 0))
        for path in (SOURCE / "jobs").rglob("[a-z]*.py")
    }
    empty["jobs__output__output_log"] = summary((94990, 100000), (94990, 100000))
    assert run(tool, tmp_path, report(**empty)) == 1
    assert capsys.readouterr().out.splitlines()[1].count("94.9 %") == 2


def test_a_file_that_is_not_measured_fails(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module that was renamed does not leave its group without anybody noticing."""
    content = report()
    content["files"] = {
        name: file for name, file in content["files"].items() if not name.endswith("grammar.py")
    }
    assert run(tool, tmp_path, content) == 1
    assert "policy/grammar.py is not in the report" in capsys.readouterr().err


def test_every_file_is_in_one_group_or_is_said_to_be_in_none(tool: ModuleType) -> None:
    """A new file of the service is counted, or somebody has written down why not."""
    for path in SOURCE.rglob("*.py"):
        name = str(path.relative_to(SOURCE))
        assert len(tool.places_of(name)) == 1, (name, tool.places_of(name))


def test_a_file_of_no_group_fails(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a folder that is counted as a whole it is counted, too; elsewhere it must be named."""
    assert run(tool, tmp_path, report(rpc__new=summary((9000, 9000), (40, 80)))) == 1
    assert "below" in capsys.readouterr().out
    assert run(tool, tmp_path, report(newcomer=summary((1, 1), (0, 0)))) == 1
    assert "newcomer.py is in no group" in capsys.readouterr().err


def test_a_report_without_branches_fails(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tool, tmp_path, report() | {"meta": {"branch_coverage": False}}) == 1
    assert "without branches" in capsys.readouterr().err
