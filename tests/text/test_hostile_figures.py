"""Every figure of a server is shown as a short text, whatever it is."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.cli.job_figures import JobFigures
from penstock.cli.printing import timestamp
from penstock.cli.top_screen import plain_table
from penstock.proto import command_pb2 as pb
from penstock.text import job_text
from penstock.text.limits_text import limits_text
from penstock.text.plots import plot

INF, NAN = float("inf"), float("nan")
FIGURES = st.floats() | st.integers() | st.integers(-(10**400), 10**400)
INT64 = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize("shown", [job_text.duration, job_text.si, job_text.percent_text])
@given(FIGURES)
@example(INF)
@example(-INF)
@example(NAN)
@example(10**400)
@example(-(10**400))
@example(1.7e308)
@example(-1.7e308)
def test_a_figure_is_a_short_text(shown: Any, figure: float) -> None:
    """In the width of a sound one."""
    assert 1 <= len(shown(figure)) <= 12, shown(figure)


@pytest.mark.parametrize("figure", [INF, -INF, NAN, 10**400])
def test_what_is_no_number_is_shown_as_unknown(figure: float) -> None:
    """Rather than as a figure that somebody may believe."""
    assert job_text.duration(figure) == job_text.si(figure) == "?"
    assert job_text.percent_text(figure) == "?"
    assert plot([1, figure, 1], 3) == "█ █"
    if isinstance(figure, float):  # as the protocol has it
        assert limits_text(pb.Limits(cpu_cores=figure)) == "cpu ?"


@given(st.lists(st.none() | FIGURES, max_size=8), st.integers(-1, 10), st.floats(0, 1e9))
@example([INF, INF], 2, 0.0)
@example([NAN, 1.0], 2, 0.0)
@example([-1e9, 1.0], 2, 0.0)
@example([5e-324, 1.7e308], 2, 0.0)
def test_a_plot_has_its_width(values: list[float | None], width: int, full: float) -> None:
    """A column for each value, and never a bar of another one."""
    assert len(plot(values, width, full=full)) == max(0, width)


@given(st.floats(), st.floats(), st.integers(0, 2**64 - 1), INT64)
@example(INF, NAN, 2**64 - 1, -(2**63))
@example(NAN, INF, 0, 2**63 - 1)
def test_whole_answers_are_lines(one: float, other: float, count: int, time_ns: int) -> None:
    """Status, a table of top, limits and times."""
    usage = pb.ResourceUsage(
        cpu_percent=one, operations_per_s=other, throttled_s=one, cpu_total_s=other
    )
    job = pb.Job(handle="7", state=pb.JOB_STATE_RUNNING, started_ns=time_ns)
    assert job_text.status_text(job, usage).startswith("Job 7 is running.")
    figures = JobFigures(job)
    for second in (1, 2):
        usage.sample_ns = second * 10**9
        figures.sample(pb.StatusResponse(job=job, usage=usage))
    assert len(plain_table([figures], 0)) == 2
    job.state = pb.JOB_STATE_FINISHED
    job.end.CopyFrom(pb.EndRecord(reason="stopped", cpu_total_s=one, throttled_s=other))
    assert job_text.status_text(job, usage).startswith("Job 7 was stopped")
    limits = pb.Limits(cpu_cores=one, memory_bytes=count % 2**63)
    assert "\n" not in limits_text(limits)
    assert len(timestamp(time_ns)) <= 24
