"""``penstockd check``: every mistake of the configuration and of all files that it names."""

import argparse
from collections.abc import Sequence, Sized
from dataclasses import asdict

from ..policy.mistakes import FileMistake
from ..supervisor.examination import Examined
from .against_running import Comparison, compare, lines_of, refusals
from .control_client import (
    ConfigUnreadable,
    NobodyThere,
    NotAsked,
    control_path,
    runs_elsewhere,
    status,
)
from .findings import CheckReport
from .full_check import check_files
from .verb_options import add_config, add_output, complain, print_json, tell, verb_parser

_DESCRIPTION = """\
Names every mistake of the configuration, the policy, and all that they name: users, programs,
paths, certificates, addresses, and what this host cannot hold. It changes nothing, and what it
accepts a start of penstockd and a reload accept. Whoever can read the files may run it; what only
root could find out is listed as unchecked."""
_EPILOG = """\
Mistakes are on stderr, FILE:LINE: KEY: WHAT; REMEDY, and so are warnings: programs that give a
shell, files that other users can write, shared users and disks.

exit status: 0, no mistake; 1, no penstockd runs that --against-running could ask; 2, mistakes

  penstockd check --config /etc/penstock/penstockd.toml
  penstockd check --against-running
  penstockd check -o json | jq .mistakes"""


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = verb_parser("check", _DESCRIPTION, _EPILOG)
    add_config(found)
    found.add_argument(
        "--against-running",
        action="store_true",
        help="also say what a reload of the penstockd that runs would change",
    )
    add_output(found)
    return found


def run(options: argparse.Namespace) -> int:
    """Prints what was found. Exit status: 2 if there is a mistake."""
    examined, report = check_files(options.config)
    compared: Comparison | None = None
    unasked = ""
    # With a wrong key what the files say is not known.
    if options.against_running and examined.policy is not None and not examined.misread:
        try:
            answer = status(control_path(options.config))
            report.add_refusals(refusals(answer, options.config))
            compared = compare(answer, examined)
        except NobodyThere as error:
            unasked = runs_elsewhere(options.config) or str(error)
        except (NotAsked, ConfigUnreadable) as error:
            unasked = str(error)
    if options.output == "json":
        print_json(_as_json(examined, report, compared, unasked))
    else:
        _print(examined, report, compared)
    complain([unasked] if unasked else [])
    return 2 if report.mistakes else int(bool(unasked))


def _print(examined: Examined, report: CheckReport, compared: Comparison | None) -> None:
    complain(report.mistakes)
    complain(f"warning: {each}" for each in report.warnings)
    complain(f"unchecked: {each}" for each in report.unchecked)
    if not report.mistakes:
        tell([_summary(examined, report)])
    if compared is not None:
        tell(lines_of(compared, refused=bool(report.mistakes)))


def _summary(examined: Examined, report: CheckReport) -> str:
    config, policy = examined.config, examined.policy
    assert config is not None  # or there was a mistake
    assert policy is not None
    counts = (
        _count(policy.classes, "class", "classes"),
        _count(policy.commands, "command", "commands"),
        _count(policy.clients, "client", "clients"),
    )
    left = [
        _count(report.warnings, "warning", "warnings") if report.warnings else "",
        f"{len(report.unchecked)} not checked" if report.unchecked else "",
    ]
    text = f"{examined.config_path} and {config.policy} are good: {', '.join(counts)}"
    return "; ".join(filter(None, (text, *left)))


def _count(of: Sized, one: str, many: str) -> str:
    return f"{len(of)} {one if len(of) == 1 else many}"


def _as_json(
    examined: Examined, report: CheckReport, compared: Comparison | None, unasked: str
) -> dict[str, object]:
    found: dict[str, object] = {
        "ok": not report.mistakes,
        "config": examined.config_path,
        "policy": examined.config.policy if examined.config is not None else "",
        "policy_revision": examined.policy.hash if examined.policy is not None else "",
        "mistakes": _records(report.mistakes),
        "warnings": _records(report.warnings),
        "unchecked": _records(report.unchecked),
    }
    if unasked:
        found["not_asked"] = unasked
    if compared is not None:
        found["against_running"] = {
            "pid": compared.pid,
            "generation": compared.generation,
            "changes": compared.changes,
            "jobs": [job._asdict() for job in compared.jobs],
        }
    return found


def _records(found: Sequence[FileMistake]) -> list[dict[str, object]]:
    return [asdict(each) for each in found]
