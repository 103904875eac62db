"""list: jobs of one's own, a line each, fitted to the terminal."""

import sys
import time
from typing import Final

from ..proto import command_pb2 as pb
from ..text import job_text
from .colours import Style, painted, wants_colours
from .connecting import asked
from .fitting import GAP, Column, one_line, rows_of
from .flags import Settings
from .printing import say_json
from .shell_words import shell_line
from .signal_handling import detaches
from .standard import OUT, say

_COLUMNS: Final = (
    Column("PID"),
    Column("STATE", least=10),
    Column("AGE"),
    Column("DURATION"),
    Column("COMMAND"),
)
_STATE: Final = 1


@detaches("nothing was changed; ask again with: penstock list")
async def list_jobs(
    settings: Settings, include_finished: bool, quiet: bool, no_trunc: bool
) -> None:
    """A job a line, with its command as one would type it."""
    jobs = await asked(settings, lambda client: client.jobs(include_finished=include_finished))
    if settings.json:
        for job in jobs:
            say_json(job)
    elif quiet:
        for job in jobs:
            say(one_line(job.handle))
    else:
        _say_table(jobs, width=OUT.columns if OUT.terminal and not no_trunc else None)


def _say_table(jobs: list[pb.Job], *, width: int | None) -> None:
    now_ns = time.time_ns()
    rows = [_cells(job, now_ns) for job in jobs]
    head, *lines = rows_of(_COLUMNS, rows, width=width, mark=mark())
    coloured = wants_colours(terminal=OUT.terminal)
    say(GAP.join(painted(cell, "bold" if coloured else None) for cell in head))
    for job, line in zip(jobs, lines, strict=True):
        if coloured:
            line[_STATE] = painted(line[_STATE], _style(job))
        say(GAP.join(line))


def _cells(job: pb.Job, now_ns: int) -> list[str]:
    return [
        one_line(job.handle),
        one_line(job_text.state_text(job)),
        _span(job.started_ns, now_ns, digits=0),
        _span(job.started_ns, job.ended_ns or now_ns, digits=0 if not job.ended_ns else 3),
        shell_line([job.command, *job.argv[1:]]),
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
        "…".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return "..."
    return "…"
