"""The screen of ``top``: its jobs as a table that fits the terminal, drawn by rich."""

from collections.abc import Sequence
from io import StringIO
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..text.job_text import duration, percent_text, si
from ..text.plots import plot
from .fitting import GAP, Column, one_line, rows_of
from .job_figures import FiguresTable, JobFigures
from .typed_line import typed_line

_FRAME_ROWS: Final = 5  # two lines above the table, its head with its rule, and the keys
_PLOT_COLUMNS: Final = 10
# Below this there is no room for plots beside the command.
_PLOTS_FROM: Final = 100
_MUCH_HELD_UP_PERCENT: Final = 10
_COLUMNS: Final = (
    *(("JOB", ""), ("CPU", "cpu"), ("MEMORY", "memory"), ("I/O /s", "io")),
    *(("OUTPUT /s", "output"), ("HELD UP", "throttled"), ("TIME", "started"), ("COMMAND", "")),
)
KEYS: Final = "q quit  sort: c CPU  m memory  i I/O  o output  t held up  s start  r reverse  ↑↓"


def rows_that_fit(lines: int) -> int:
    """How many jobs a terminal of so many lines shows."""
    return max(1, lines - _FRAME_ROWS)


def screen(
    figures: FiguresTable,
    visible: Sequence[JobFigures],
    *,
    server: str,
    note: str,
    sort: str,
    columns: int,
    lines: int,
    now_ns: int,
    colours: bool,
) -> list[str]:
    """The lines of the whole screen, ``lines`` of them, each at most ``columns`` wide, with
    escape sequences for colours alone. ``note``: what is wrong at the moment, or ""."""
    console = Console(
        file=StringIO(),
        force_terminal=colours,
        color_system="standard" if colours else None,
        no_color=not colours,
        width=columns,
        height=lines,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    with console.capture() as captured:
        console.print(_head(figures, server, sort), no_wrap=True, overflow="ellipsis")
        console.print(Text(one_line(note), "bold red"), no_wrap=True, overflow="ellipsis")
        console.print(_table(visible, sort=sort, columns=columns, now_ns=now_ns))
    drawn = captured.get().splitlines()[: lines - 1]
    return [*drawn, *[""] * (lines - 1 - len(drawn)), KEYS[:columns]]


def _head(figures: FiguresTable, server: str, sort: str) -> Text:
    cpu = figures.total(lambda each: each.cpu_percent)
    memory = figures.total(lambda each: each.memory_bytes)
    io = figures.total(lambda each: each.io_bytes_per_s)
    jobs = "1 job" if len(figures) == 1 else f"{len(figures)} jobs"
    return Text(
        f"penstock top  {one_line(server)}  {jobs}, {figures.ended} ended  by {sort}  "
        f"CPU {_percent(cpu)}  memory {_bytes(memory)}  I/O {_bytes(io)}/s",
        "bold",
    )


def plain_table(jobs: Sequence[JobFigures], now_ns: int) -> list[str]:
    """The lines of a table for a file or a pipe, without plots, cut nowhere."""
    columns = [Column(title) for title, _ in _COLUMNS]
    rows = [_cells(each, plots=False, now_ns=now_ns) for each in jobs]
    return [GAP.join(row) for row in rows_of(columns, rows)]


def _table(visible: Sequence[JobFigures], *, sort: str, columns: int, now_ns: int) -> Table:
    found = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1), show_edge=False)
    for title, name in _COLUMNS[:-1]:
        style = "bold reverse" if name == sort else "bold"
        found.add_column(Text(title, style), justify="right" if name else "left", no_wrap=True)
    found.add_column(_COLUMNS[-1][0], no_wrap=True, overflow="ellipsis", ratio=1)
    for each in visible:
        held_up = each.throttled_percent or 0
        style = "yellow" if held_up >= _MUCH_HELD_UP_PERCENT else ""
        cells = _cells(each, plots=columns >= _PLOTS_FROM, now_ns=now_ns)
        found.add_row(*(Text(cell, style) for cell in cells))
    return found


def _cells(each: JobFigures, *, plots: bool, now_ns: int) -> list[str]:
    job = each.job
    state = " (paused)" if job.paused else ""
    cells = [
        job.name or job.handle,
        _with_plot(_percent(each.cpu_percent), each.cpu, plots, full=100),
        _with_plot(_bytes(each.memory_bytes), each.memory, plots),
        _with_plot(_bytes(each.io_bytes_per_s), each.io, plots),
        _bytes(each.output_bytes_per_s),
        _percent(each.throttled_percent),
        duration(max(0, now_ns - job.started_ns) / 1e9),
        typed_line(job) + state,
    ]
    return [one_line(cell) for cell in cells]


def _with_plot(text: str, values: Sequence[float | None], plots: bool, *, full: float = 0.0) -> str:
    return f"{plot(list(values), _PLOT_COLUMNS, full=full)} {text:>6}" if plots else text


def _percent(value: float | None) -> str:
    return "-" if value is None else percent_text(value)


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{si(value)}B"
