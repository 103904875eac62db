"""``penstockd policy test``: does a policy grant and deny what a table of cases says?"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..policy.cases import PolicyCase, parse_cases
from ..policy.explanation import Explanation, explain
from ..policy.mistakes import FileMistake, unlocated
from ..policy.policy_file import Policy
from .policy_options import PolicyText, add_policy, read_named, read_policy_text
from .verb_options import add_output, print_json, refuse, tell, verb_parser

_DESCRIPTION = """\
Asks a policy about each line of a table of cases, and says which were not decided as expected, and
which rule decided. Nothing is started, and nothing of this host is looked at: users, programs and
paths are for penstockd check."""
_EPILOG = """\
A case is a line, CLIENT allow|deny COMMAND ..., with a shell's quoting. deny=KEY also says which
key of the policy must deny it, or one below it. --env NAME=VALUE and --stdin may stand before the
command. # begins a comment.

  # who    what    command line
  alice    allow   logs -n 20 dpkg.log
  alice    deny    logs /etc/passwd
  bob      deny=clients.bob.commands  logs dpkg.log

exit status: 0, all as expected; 1, some are not; 2, mistakes in one of the files

  penstockd policy test /etc/penstock/policy.toml cases.txt"""
_MOST_GRANTS = 8


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = verb_parser("policy test", _DESCRIPTION, _EPILOG)
    add_policy(found)
    found.add_argument("cases", metavar="CASES", help="the table of cases")
    add_output(found)
    return found


def run(options: argparse.Namespace) -> int:
    """Prints what is not as expected. Exit status: 1 if there is such a case."""
    refused: list[FileMistake] = []
    text = read_policy_text(options.policy, refused)
    cases = _read_cases(options.cases, refused)
    if text is None or cases is None:
        return refuse(refused, options.output)
    decided = [(case, explain(text.policy, case.client, case.start)) for case in cases]
    failed = [(case, found) for case, found in decided if not case.holds(found)]
    untried = list(_untried(text.policy, decided))
    if options.output == "json":
        print_json(
            {
                "ok": not failed,
                "cases": [_record(case, found) for case, found in decided],
                "untried": [{"client": client, "command": name} for client, name in untried],
            }
        )
    else:
        tell(
            f"{options.cases}:{case.line}: {_failure(case, found, text)}" for case, found in failed
        )
        strangers = {case.client for case in cases} - text.policy.clients.keys()
        tell([_summary(len(cases), len(failed), untried, sorted(strangers))])
    return int(bool(failed))


def _read_cases(path: str, refused: list[FileMistake]) -> list[PolicyCase] | None:
    data = read_named(path, refused)
    if data is None:
        return None
    cases, mistakes = parse_cases(data)
    if not cases and not mistakes:
        mistakes = ["1: there is no case in it; write CLIENT allow|deny COMMAND ..."]
    for mistake in mistakes:
        line, _, text = mistake.partition(": ")
        refused.append(replace(unlocated(text), file=path, line=int(line)))
    return None if mistakes else cases


def _failure(case: PolicyCase, found: Explanation, text: PolicyText) -> str:
    by = f" by {text.at(found.rule)}" if found.rule else ""
    if not found.granted:
        return f"{case.text}: expected {case.expected}, but it is denied{by}: {found.message}"
    slots = ", ".join(
        f"{use.argument!r} by {text.at(use.key)}" for use in found.slots if use.argument is not None
    )
    taken = f", and its arguments are: {slots}" if slots else ""
    return f"{case.text}: expected {case.expected}, but it is granted{by}{taken}"


def _untried(
    policy: Policy, decided: Sequence[tuple[PolicyCase, Explanation]]
) -> Iterator[tuple[str, str]]:
    """Grants that no granted case has made use of."""
    tried = {(case.client, case.start.command) for case, found in decided if found.granted}
    for client in policy.clients.values():
        for name in sorted(client.commands):
            if (client.id, name) not in tried:
                yield client.id, name


def _summary(
    count: int, failed: int, untried: Sequence[tuple[str, str]], strangers: Sequence[str]
) -> str:
    text = f"{count} case{'s' * (count != 1)}, "
    text += f"{failed} not as expected" if failed else "all as expected"
    if untried:
        shown = ", ".join(" ".join(each) for each in untried[:_MOST_GRANTS])
        more = ", ..." if len(untried) > _MOST_GRANTS else ""
        text += f"; no case allows: {shown}{more}"
    if strangers:  # meant, or a mistake of typing
        text += f"; no clients of the policy: {', '.join(strangers[:_MOST_GRANTS])}"
    return text


def _record(case: PolicyCase, found: Explanation) -> dict[str, object]:
    return {
        "line": case.line,
        "case": case.text,
        "expected": case.expected,
        "ok": case.holds(found),
        "granted": found.granted,
        "rule": found.rule,
        "message": found.message,
    }
