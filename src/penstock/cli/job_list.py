"""list: jobs of one's own, a line each, fitted to the terminal."""

import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, TypeVar

import asyncclick as click

from ..client.client import Client
from ..proto import command_pb2 as pb
from ..text import job_text
from .colours import Style, painted, wants_colours
from .connecting import asked
from .fitting import GAP, Column, one_line, rows_of
from .flags import Settings
from .invocation import current
from .list_options import Filter
from .printing import say_json
from .signal_handling import detaches
from .standard import say
from .typed_line import typed_line

ValueT = TypeVar("ValueT")

_COLUMNS: Final = (
    Column("PID"),
    Column("NAME", least=8),
    Column("STATE", least=10),
    Column("AGE"),
    Column("DURATION"),
    Column("COMMAND"),
)
_STATE: Final = 2


@detaches("nothing was changed; ask again with: penstock list")
async def list_jobs(
    settings: Settings,
    include_finished: bool,
    most: int | None,
    quiet: bool,
    no_trunc: bool,
    states: tuple[str, ...],
    of_command: str | None,
    named: str | None,
    labels: tuple[tuple[str, str | None], ...],
    since_ns: int | None,
    filters: tuple[Filter, ...],
) -> None:
    """A job a line, with its command as one would type it."""

    def all_of(option: str, given: Iterable[Any]) -> list[Any]:
        return [*given, *(each.value for each in filters if each.option == option)]

    pairs = all_of("labels", labels)
    wanted = partial(
        Client.jobs,
        include_finished=include_finished,
        states=[_state(each) for each in all_of("states", states)],
        command=_only("--command", all_of("command", _given(of_command))) or "",
        name=_only("--name", all_of("name", _given(named))) or "",
        labels=_values(pairs),
        label_keys=[key for key, value in pairs if value is None],
        since_ns=max(all_of("since_ns", _given(since_ns)), default=0),
        most=most,
    )
    jobs = await asked(settings, wanted)
    if settings.json:
        for job in jobs:
            say_json(job)
    elif quiet:
        for job in jobs:
            say(one_line(job.handle))
    else:
        out = current().out
        _say_table(jobs, width=out.columns if out.terminal and not no_trunc else None)


def _state(name: str) -> pb.JobState:
    state: pb.JobState = getattr(pb, f"JOB_STATE_{name.upper()}")
    return state


def _given(value: ValueT | None) -> list[ValueT]:
    return [] if value is None else [value]


def _only(option: str, values: list[str]) -> str | None:
    """The one value. Raises UsageError for several, because no job has two."""
    if len(set(values)) > 1:
        raise click.UsageError(f"{option} is given as {' and as '.join(values)}: no job is both")
    return values[0] if values else None


def _values(pairs: list[tuple[str, str | None]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in pairs:
        if value is not None:
            _only(f"--label {key}", [value, found.get(key, value)])
            found[key] = value
    return found


def _say_table(jobs: list[pb.Job], *, width: int | None) -> None:
    now_ns = time.time_ns()
    rows = [_cells(job, now_ns) for job in jobs]
    head, *lines = rows_of(_COLUMNS, rows, width=width, mark=mark())
    coloured = wants_colours(terminal=current().out.terminal)
    say(GAP.join(painted(cell, "bold" if coloured else None) for cell in head))
    for job, line in zip(jobs, lines, strict=True):
        if coloured:
            line[_STATE] = painted(line[_STATE], _style(job))
        say(GAP.join(line))


def _cells(job: pb.Job, now_ns: int) -> list[str]:
    return [
        one_line(job.handle),
        one_line(job.name) or "-",
        one_line(job_text.state_text(job)),
        _span(job.started_ns, now_ns, digits=0),
        _span(job.started_ns, job.ended_ns or now_ns, digits=0 if not job.ended_ns else 3),
        typed_line(job),
    ]


def _span(begin_ns: int, end_ns: int, *, digits: int) -> str:
    """How long it is between two times; "-" if it has not begun. A clock that is behind the
    server's makes no negative time."""
    if not begin_ns:
        return "-"
    return job_text.duration(round(max(0, end_ns - begin_ns) / 1e9, digits))


def _style(job: pb.Job) -> Style | None:
    if job.state != pb.JOB_STATE_FINISHED:
        return "yellow" if job.paused else "green"
    succeeded = job.end.reason == "exited" and job.end.exit_code == 0
    return None if succeeded else "red"


def mark() -> str:
    """What stands for text that is cut: an ellipsis, where the output's encoding has one."""
    try:
        "…".encode(current().out.text.encoding)
    except UnicodeEncodeError:
        return "..."
    return "…"
