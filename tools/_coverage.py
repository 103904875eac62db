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
# Names below src/penstock; * stands for any characters, those of a folder among them.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "jobs": ("jobs/*.py",),
    "rpc": ("rpc/*.py",),
    "policy": tuple(
        f"supervisor/{name}.py"
        for name in (
            *("policy", "policy_checks", "grammar", "patterns", "tables", "limits", "class_parser"),
            *(
                "slot_parser",
                "slots",
                "paths",
                "control_policy",
                "output_policy",
                "isolation_policy",
            ),
            *("environment", "grants", "executables", "shells", "signal_names", "rights"),
            *(
                "directory_writers",
                "environment_keys",
                "prefixes",
                "programs",
                "program_input",
                "program_options",
                "program_table",
            ),
            *("accounts", "client_users", "group_policy", "id_maps", "uid_range", "user_checks"),
            *("writable_places", "program_files", "script_files"),
        )
    ),
    "service": tuple(
        f"{name}.py"
        for name in (
            *("service", "service_control", "service_input", "streaming", "messages", "statuses"),
            *("requests", "gate", "authz", "authn", "decisions", "quota", "refusals", "received"),
            *("server", "audit", "audit_lines", "repeats", "methods", "service_start"),
            *("lockout", "unread", "interrupts", "plain_errors"),
        )
    ),
}
# What is in no group: its tests run in processes of their own, which this pass does not see.
UNCOUNTED: Final[Mapping[str, tuple[str, ...]]] = {
    "generated, or nothing but names": ("__init__.py", "proto/*.py"),
    "the command line, a process for each test": ("cli/*.py",),
    "a client's side, held to clients and servers that are real": (
        *(
            "client/client.py",
            "client/follow.py",
            "client/send_input.py",
            "client/identity.py",
            "text/job_text.py",
            "text/stream_decoder.py",
        ),
        *("client/backoff.py", "client/retry.py"),
    ),
    "files of certificates, made and read by processes": (
        *("pki/issue.py", "pki/names.py", "pki/crl.py", "server/credentials.py"),
    ),
    "the supervisor, which decides nothing of policy here and is a process of its own": (
        *("penstockd.py", "supervisor/groups/*.py", "supervisor/isolation/*.py"),
        *(
            f"supervisor/{name}.py"
            for name in (
                *("__init__", "__main__", "channel", "child", "children", "cloning"),
                *("command_line", "config", "counters", "daemon", "doctor", "filesystems"),
                *("held", "inspecting", "keeper", "kept", "leftovers", "lines", "log"),
                *("loop", "pausing", "process", "protocol", "reading", "reception"),
                *("relay", "requests", "rlimit_policy", "rlimits", "run_directory"),
                *(
                    "sentinel",
                    "sentinel_main",
                    "shutdown",
                    "signals",
                    "silence",
                    "spawn",
                    "startup",
                ),
                *(
                    "nameless",
                    "notices",
                    "storage",
                    "storage_watch",
                    "terms",
                    "trees",
                    "users",
                    "watching",
                ),
                "tracing",
                *("locks", "message_forms", "config_changes", "limit_watch"),
                *("command_users", "job_environment", "private_directory", "standard_pipes"),
                "user_table",
                *("earlier_server", "log_file", "project_quota", "start_requirements"),
                *("addresses", "listeners", "socket_passing"),
                *("welcome", "workdirs"),
            )
        ),
    ),
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
    found = {}
    for group, patterns in GROUPS.items():
        figure = Figure()
        for pattern in patterns:
            names = [name for name in files if fnmatchcase(name, pattern)]
            if not names:
                raise ReportUnusable(f"{group}: no file is named {pattern}")
            for name in names:
                figure += files[name]
        found[group] = figure
    if strays := [name for name in files if len(places_of(name)) != 1]:
        name = min(strays)
        where = " and ".join(places_of(name)) or "no group"
        raise ReportUnusable(f"{name} is in {where}; name it once in GROUPS or UNCOUNTED")
    return found


def places_of(name: str) -> list[str]:
    """The groups, and reasons for not being in one, that a file below src/penstock is named by."""
    places = {**GROUPS, **UNCOUNTED}
    return [place for place in places if any(fnmatchcase(name, each) for each in places[place])]


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
