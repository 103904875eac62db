#!/usr/bin/env python3
"""Prints what of each group of files the tests reached; exit status 1 if it is too little.

    tools/_coverage.py JSON     # written by `coverage json`

Every group has two figures: branches, the ways out of each decision, by themselves, and
statements and branches together, which is what coverage.py prints for a file. What is excluded
from both stands in pyproject.toml, each pattern with its reason.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

LEAST_PERCENT: Final = 95.0
SOURCE: Final = Path(__file__).resolve().parent.parent / "src" / "penstock"
# Names below src/penstock; * stands for any characters, those of a folder among them. Of several
# that fit a file, the longest counts.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "jobs": ("jobs/*.py",),
    "rpc": ("rpc/*.py",),
    "policy": (
        *("policy/*.py", "supervisor/files/*.py", "supervisor/policy_checks.py"),
        "supervisor/job/start_check.py",
        *(
            f"supervisor/users/{name}.py"
            for name in (
                *("accounts", "client_users", "command_user_checks", "id_maps", "user_checks"),
            )
        ),
    ),
    "service": ("server/*.py", "concurrency/*.py", "client/verify.py"),
}
# Of a group's folder what other processes run: its tests do not count here.
OF_OTHER_PROCESSES: Final = (
    *("policy/configuration.py", "policy/settings_in_force.py", "policy/addresses.py"),
    *("policy/rlimit_policy.py", "supervisor/files/private_directory.py"),
    *("server/credentials.py", "server/__main__.py"),
)
# What is in no group: its tests run in processes of their own, which this pass does not see.
UNCOUNTED: Final[Mapping[str, tuple[str, ...]]] = {
    "generated, or nothing but names": ("__init__.py", "proto/*.py"),
    "the command line, a process for each test": ("cli/*.py", "agent/*.py"),
    "a client's side, held to clients and servers that are real": ("client/*.py", "text/*.py"),
    "files of certificates, made and read by processes": ("pki/*.py",),
    "the supervisor, which decides nothing of policy here and is a process of its own": (
        *("penstockd.py", "supervisor/*.py"),
    ),
    "of the server and the policy, what processes of their own run": OF_OTHER_PROCESSES,
    "the operator's verbs, a process for each call": ("operate/*.py",),
}


@dataclass(frozen=True)
class Figure:
    """How much of a group's or a file's there is, and how much of it was reached."""

    statements: int = 0
    statements_reached: int = 0
    branches: int = 0
    branches_reached: int = 0

    def __add__(self, other: "Figure") -> "Figure":
        return Figure(
            self.statements + other.statements,
            self.statements_reached + other.statements_reached,
            self.branches + other.branches,
            self.branches_reached + other.branches_reached,
        )

    @property
    def branch_percent(self) -> float:
        return _percent(self.branches_reached, self.branches)

    @property
    def percent(self) -> float:
        reached = self.statements_reached + self.branches_reached
        return _percent(reached, self.statements + self.branches)

    @property
    def is_enough(self) -> bool:
        return min(self.branch_percent, self.percent) >= LEAST_PERCENT


class ReportUnusable(Exception):
    """The report is not of a run with branches, or does not have every file of the groups."""


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0


def figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Each group's figure out of a report of `coverage json`. Raises ReportUnusable."""
    if not report["meta"]["branch_coverage"]:
        raise ReportUnusable("the report is of a run without branches")
    files = {_below_penstock(name): _figure(file) for name, file in report["files"].items()}
    if absent := every_file() - files.keys():
        raise ReportUnusable(f"{min(absent)} is not in the report; was it renamed?")
    for group, patterns in GROUPS.items():
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in files):
                raise ReportUnusable(f"{group}: no file is named {pattern}")
    found = {group: Figure() for group in GROUPS}
    for name, figure in sorted(files.items()):
        places = places_of(name)
        if len(places) != 1:
            where = " and ".join(places) or "no group"
            raise ReportUnusable(f"{name} is in {where}; name it once in GROUPS or UNCOUNTED")
        if places[0] in found:
            found[places[0]] += figure
    return found


def every_file() -> set[str]:
    """As a report would name them."""
    return {
        str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if "proto" not in path.parts
    }


def places_of(name: str) -> list[str]:
    """The group, or reason for not being in one, that names a file below src/penstock.

    By the longest of the names and patterns that fit: a file can be taken out of its folder's.
    """
    fits = [
        (len(pattern), place)
        for place, patterns in {**GROUPS, **UNCOUNTED}.items()
        for pattern in patterns
        if fnmatchcase(name, pattern)
    ]
    longest = max(fits, default=(0, ""))[0]
    return sorted({place for length, place in fits if length == longest})


def _below_penstock(name: str) -> str:
    """The tests' is the installed package, wherever that is."""
    return name.rpartition("/penstock/")[2]


def _figure(file: Mapping[str, Any]) -> Figure:
    summary = file["summary"]
    return Figure(
        summary["num_statements"],
        summary["covered_lines"],
        summary["num_branches"],
        summary["covered_branches"],
    )


def table(found: Mapping[str, Figure]) -> str:
    """A line for each group; percentages are cut, so that 94.99 does not read as 95.0."""
    lines = [f"{'group':<10}{'branches':>22}{'with statements':>18}"]
    for group, figure in found.items():
        counts = f"{figure.branches_reached} of {figure.branches}"
        line = f"{group:<10}{counts:>14}{_cut(figure.branch_percent)}{_cut(figure.percent):>18}"
        lines.append(line if figure.is_enough else f"{line}  below {LEAST_PERCENT} %")
    return "\n".join(lines)


def _cut(percent: float) -> str:
    return f"{int(percent * 10) / 10:6.1f} %"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print((__doc__ or "").split("\n\n")[1], file=sys.stderr)
        return 2
    try:
        found = figures(json.loads(Path(arguments[0]).read_text()))
    except (OSError, ReportUnusable) as error:
        print(f"tools/_coverage.py: {error}", file=sys.stderr)
        return 1
    print(table(found))
    return 0 if all(figure.is_enough for figure in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
