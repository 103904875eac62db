"""``penstockd doctor``: what this host can hold jobs to, with a remedy for whatever it cannot."""

import argparse
import sys
from dataclasses import asdict

from ..policy.configuration import Config
from ..policy.policy_file import Policy
from ..supervisor.doctor import Finding, examine_host
from ..supervisor.examination import examine
from .verb_options import add_config, add_output, print_json, refuse, verb_parser

_DESCRIPTION = """\
Says what this host can hold jobs to, by looking and by trying, and what to do about what it cannot.

It must run as the user that runs penstockd, and may run beside it: groups and directories that it
tries things with are its own, for a moment."""
_EPILOG = """\
exit status: 0, nothing is missing, though something may be held in part only; 1, something is
missing; 2, the files have mistakes

  penstockd doctor --config /etc/penstock/penstockd.toml"""
_WIDTH = 22


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = verb_parser("doctor", _DESCRIPTION, _EPILOG)
    add_config(found)
    add_output(found)
    return found


def run(options: argparse.Namespace) -> int:
    """Prints a finding a line. Exit status: 1 if one is ``missing``."""
    examined = examine(options.config)
    examined.close()
    # A mistake about a user or a path is one of its findings; one of the files' form leaves nothing
    # to look at.
    config, policy = examined.config, examined.policy
    if config is None or policy is None or examined.misread:
        return refuse(examined.mistakes, options.output)
    return _print(_look(config, policy), options.output)


def _look(config: Config, policy: Policy) -> list[Finding]:
    try:
        return examine_host(config, policy)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        text = f"could not be tried: {where}{error.strerror}"
        return [Finding("host", "missing", text, "run it as the user that runs penstockd")]


def _print(findings: list[Finding], form: str) -> int:
    if form == "json":
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for each in findings:
            print(f"{each.name:{_WIDTH}} {each.state:8} {each.detail}")
            if each.remedy:
                print(f"{'':{_WIDTH}} {'->':>8} {each.remedy}")
    sys.stdout.flush()
    return int(any(finding.state == "missing" for finding in findings))
