"""What a reload would change: the files as they are now, against what a penstockd has in force."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..policy.configuration import Config, parse_config
from ..policy.decision import fate_of_jobs
from ..policy.generation_hash import generation_hash
from ..policy.mistakes import FileMistake
from ..policy.policy_changes import policy_changes
from ..policy.policy_file import Policy, parse_policy
from ..policy.settings_in_force import in_force_by, setting_changes
from ..supervisor.examination import Examined, examine
from .control_client import ControlAnswer


class TouchedJob(NamedTuple):
    """A job whose client has lost its rights. ``fate``: what becomes of it."""

    pid: int
    client: str
    command: str
    fate: str


@dataclass(slots=True)
class Comparison:
    """``changes`` are lines for people. Jobs that are not in ``jobs`` are not touched: they keep
    the rules that they were started with."""

    pid: int
    generation: str
    changes: list[str] = field(default_factory=list)
    jobs: list[TouchedJob] = field(default_factory=list)


def compare(answer: ControlAnswer, examined: Examined) -> Comparison:
    """Files without mistakes in their keys, against penstockd's answer to ``status``."""
    config, policy = examined.config, examined.policy
    assert config is not None
    assert policy is not None
    found = Comparison(int(answer.fields["pid"]), str(answer.fields["generation"]))
    if generation_hash(examined.config_data, examined.policy_data) != found.generation:
        found.changes += _changes(answer, config, policy)
        found.jobs += _touched(answer, policy)
    return found


def refusals(answer: ControlAnswer, config_path: str) -> list[FileMistake]:
    """Why a reload would refuse the files, though a start would not: what needs a restart is judged
    as it is in force."""
    examined = examine(config_path, running=_running(answer))
    examined.close()
    return examined.mistakes


def _changes(answer: ControlAnswer, config: Config, policy: Policy) -> list[str]:
    running = _running(answer)
    changes = [str(each) for each in setting_changes(running, running, config)]
    return changes + policy_changes(parse_policy(answer.files["policy"]), policy)


def _running(answer: ControlAnswer) -> Config:
    told = parse_config(answer.files["configuration"])
    return in_force_by(told, json.loads(answer.fields["settings"]))


def _touched(answer: ControlAnswer, policy: Policy) -> Iterator[TouchedJob]:
    for text in answer.texts("running"):
        pid, client, command = text.split(" ")
        fate = fate_of_jobs(policy, client)
        if fate is not None:
            yield TouchedJob(int(pid), client, command, fate)


def lines_of(found: Comparison, *, refused: bool) -> Iterator[str]:
    """For people. ``refused``: the files have mistakes, so a reload would change nothing yet."""
    which = f"a reload of penstockd (process {found.pid})"
    if refused:
        yield f"{which} would be refused for these mistakes; once they are mended it would change:"
    else:
        yield f"{which} would change:"
    for change in found.changes:
        yield f"  {change}"
    for job in found.jobs:
        fate = "is stopped" if job.fate == "stop" else "runs on, and none of its streams does"
        yield f"  job of process {job.pid}, {job.command} of {job.client}: {fate}"
    if not found.changes:
        yield "  nothing of configuration and policy"
    yield "  and would read certificates, keys, lists and programs anew"
