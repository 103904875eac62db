"""top: figures from samples, a screen that fits, keys, and the terminal as it was afterwards."""

import json
import os
import signal
import time
from typing import Any, get_args

import asyncclick as click
import pytest
import trio
from fake_service import FakeService, fake_server
from typed_terminal import TypedTerminal, typed_terminal

from penstock.cli import top_screen
from penstock.cli.job_figures import SORTS, FiguresTable, JobFigures, _Counter
from penstock.cli.live_verbs import TOP
from penstock.cli.top_screen import plain_table, screen
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

RUNNING = pb.JOB_STATE_RUNNING
SECOND = 10**9


def job(handle: str, **fields: Any) -> pb.Job:
    return pb.Job(handle=handle, command="idle", state=RUNNING, started_ns=SECOND, **fields)


def answer(at_s: float, output: int = 0, handle: str = "7", **usage: float) -> pb.StatusResponse:
    figures = pb.ResourceUsage(sample_ns=int(at_s * SECOND), **usage)  # type: ignore[arg-type]
    return pb.StatusResponse(job=job(handle, output_next_offset=output), usage=figures)


def test_rates_are_of_two_samples() -> None:
    """By the server's own clock; what is not measured is no 0."""
    figures = JobFigures(job("7"))
    figures.sample(
        answer(10, 100, cpu_total_s=1, memory_bytes=5, read_bytes=0, write_bytes=0, throttled_s=0)
    )
    assert (figures.cpu_percent, figures.memory_bytes) == (None, 5)
    figures.sample(
        answer(
            12, 300, cpu_total_s=4, memory_bytes=6, read_bytes=10, write_bytes=30, throttled_s=0.5
        )
    )
    assert figures.cpu_percent == 150
    assert figures.io_bytes_per_s == 20
    assert figures.output_bytes_per_s == 100
    assert figures.throttled_percent == 25
    assert list(figures.cpu) == [None, 150]
    figures.sample(answer(12, 300, cpu_total_s=4))  # the same sample again
    assert figures.cpu_percent == 150
    figures.sample(answer(14, 200, cpu_total_s=3))
    assert figures.cpu_percent == 0  # a counter that went back
    assert figures.output_bytes_per_s == 0
    assert figures.io_bytes_per_s is None
    assert figures.memory_bytes is None


def test_a_counter_is_a_field_of_the_usage() -> None:
    """By its name there."""
    assert {*get_args(_Counter)} <= {*pb.ResourceUsage.DESCRIPTOR.fields_by_name}


def test_the_verb_knows_every_order() -> None:
    """They are written twice, as the verb's declaration loads no protobuf."""
    (option,) = (each for each in TOP.params if each.name == "sort")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == list(SORTS)


def test_changes_make_the_table_what_a_list_would_be() -> None:
    """Ended and removed jobs leave it, figures stay."""
    table = FiguresTable()
    table.replace([job("1"), job("2")])
    first = table.get("1")
    table.apply(pb.WatchResponse(handle="3", state=RUNNING, job=job("3")))
    table.apply(pb.WatchResponse(handle="1", state=RUNNING, job=job("1", paused=True)))
    assert first is not None
    assert table.get("1") is first
    assert first.job.paused
    ended = pb.Job(handle="2", state=pb.JOB_STATE_FINISHED)
    table.apply(pb.WatchResponse(handle="2", state=pb.JOB_STATE_FINISHED, job=ended))
    table.apply(pb.WatchResponse(handle="3", removed=True))
    table.apply(pb.WatchResponse(handle="3", removed=True))
    assert ([each.job.handle for each in table.ordered("cpu")], table.ended) == (["1"], 2)
    table.replace([job("9"), job("1")])
    assert table.get("1") is first
    assert len(table) == 2


def test_orders() -> None:
    """The most first; of equals the newest; reversed all of it."""
    table = FiguresTable()
    table.replace([job("1"), job("2"), job("3")])
    for handle, memory in (("1", 5), ("2", 9)):
        figures = table.get(handle)
        assert figures is not None
        figures.sample(answer(1, handle=handle, memory_bytes=memory))
    assert [each.job.handle for each in table.ordered("memory")] == ["2", "1", "3"]
    assert [each.job.handle for each in table.ordered("memory", reverse=True)] == ["3", "1", "2"]
    assert table.total(lambda each: each.memory_bytes) == 14
    assert (
        table.total(lambda each: each.io_bytes_per_s) is None
    )  # none was measured, which is not 0
    assert FiguresTable().total(lambda each: each.io_bytes_per_s) == 0


def test_who_is_asked_next() -> None:
    """Those that are seen, then those not asked for longest, and never more than the bound."""
    table = FiguresTable()
    table.replace([job(str(number)) for number in range(10)])
    for number in range(10):
        figures = table.get(str(number))
        assert figures is not None
        figures.asked_at = -number
    visible = table.ordered("cpu")[:2]
    chosen = table.to_ask(visible, 5)
    assert chosen[:2] == visible
    oldest = [each for each in ("9", "8", "7", "6", "5") if each not in visible_of(visible)][:3]
    assert [each.job.handle for each in chosen[2:]] == oldest
    assert table.to_ask(visible, 1) == visible[:1]


def visible_of(jobs: list[JobFigures]) -> list[str]:
    return [each.job.handle for each in jobs]


@pytest.mark.parametrize("columns", [40, 80, 140, 200])
@pytest.mark.parametrize("colours", [True, False])
def test_a_screen_fits(columns: int, colours: bool) -> None:
    """Whatever the jobs' names and arguments are: no line is wider, none is more."""
    table = FiguresTable()
    hostile = ["\x1b[31m" * 50, "x\n\ty", "日本" * 60]
    table.replace([job(str(40000 + n), argv=["/x", *hostile], name="n" * 63) for n in range(99)])
    lines = screen(
        table,
        table.ordered("cpu")[: top_screen.rows_that_fit(20)],
        server="s:1",
        note="\x1b[2J" * 40,
        sort="cpu",
        columns=columns,
        lines=20,
        now_ns=90 * SECOND,
        colours=colours,
    )
    assert len(lines) == 20
    for line in lines:
        plain = line
        for code in ("\x1b[0m", "\x1b[1m", "\x1b[1;7m", "\x1b[1;31m", "\x1b[7;1m"):
            plain = plain.replace(code, "")
        assert "\x1b" not in plain
        assert len(plain) <= columns


def test_a_plain_table_is_whole() -> None:
    """Every figure of every job in a column; a job without figures has dashes."""
    first, second = JobFigures(job("7", name="nightly", paused=True)), JobFigures(job("8"))
    for at in (1, 2):
        first.sample(
            answer(
                at,
                at * 1000,
                cpu_total_s=at,
                memory_bytes=2_000_000,
                throttled_s=0,
                read_bytes=0,
                write_bytes=at * 3000,
            )
        )
    first.job = job("7", name="nightly", paused=True)
    assert plain_table([first, second], 91 * SECOND) == [
        "JOB      CPU   MEMORY  I/O /s  OUTPUT /s  HELD UP  TIME   COMMAND",
        "nightly  100%  2MB     3kB     1kB        0%       1m30s  idle (paused)",
        "8        -     -       -       -          -        1m30s  idle",
    ]


class Busy(FakeService):
    """Jobs that use more with each look; the second one the most."""

    def __init__(self) -> None:
        super().__init__()
        now = time.time_ns()
        self.jobs = [
            pb.Job(handle=str(40000 + n), command=f"job{n}", state=RUNNING, started_ns=now - n)
            for n in range(4)
        ]
        self.asked: list[str] = []
        self.forgotten = "5"

    async def Status(  # noqa: N802  the proto's name
        self, input_message: pb.StatusRequest, request: Any
    ) -> pb.StatusResponse:
        self.asked.append(input_message.pid)
        if input_message.pid == self.forgotten:
            return await super().Status(input_message, request)
        (found,) = (each for each in self.jobs if each.handle == input_message.pid)
        number = int(found.handle) - 40000
        usage = pb.ResourceUsage(
            sample_ns=len(self.asked) * SECOND,
            cpu_total_s=len(self.asked) * (0.9 if number == 1 else 0.1),
            memory_bytes=10**6 * (number + 1),
        )
        return pb.StatusResponse(job=found, usage=usage)


def shown_jobs(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines if line.startswith("4000")]


async def test_in_a_pipe_it_is_one_table() -> None:
    """With rates, which take two samples of each."""
    service = Busy()
    async with fake_server(service) as server:
        done = await server.run_cli("top", "--sort", "memory")
    lines = done.out.decode().splitlines()
    assert (done.code, done.err) == (0, b"")
    assert [line.split()[0] for line in lines] == ["JOB", "40003", "40002", "40001", "40000"]
    assert sorted(service.asked) == sorted([each.handle for each in service.jobs] * 2)


async def test_as_json_it_is_a_status_each() -> None:
    """The newest one; a job that ended meanwhile is left out."""
    service = Busy()
    service.jobs.append(job(service.forgotten))
    async with fake_server(service) as server:
        done = await server.run_cli("-o", "json", "top")
    found = [json.loads(line) for line in done.out.splitlines()]
    handles = [each["job"]["handle"] for each in found]
    assert handles[0] == "40001"
    assert sorted(handles) == ["40000", "40001", "40002", "40003"]
    assert all(int(each["usage"]["sample_ns"]) > 4 * SECOND for each in found)


def under_way(service: Busy, terminal: TypedTerminal, server: Any, *words: str) -> Any:
    return server.cli(
        *("top", "--interval", "0.5", *words),
        stdin=terminal.copy(),
        out=terminal.copy(),
        err=terminal.copy(),
        environment={"TERM": "xterm", "NO_COLOR": "1"},
    )


async def test_keys_order_it_and_q_gives_the_terminal_back() -> None:
    """As it was, other screen and echo included."""
    service = Busy()
    async with fake_server(service) as server, typed_terminal(90, 12) as terminal:
        before = terminal.attributes()
        async with under_way(service, terminal, server) as cli:
            await terminal.wait_for("90%")
            assert shown_jobs(terminal.lines())[0] == "40001"
            assert terminal.attributes() != before
            terminal.type("m")
            assert shown_jobs(await terminal.wait_for("by memory"))[0] == "40003"
            terminal.type("r")
            while shown_jobs(terminal.lines())[0] != "40000":
                await terminal.output.grown.wait()
            terminal.type("x\x1b[Bq")
            assert await cli.process.wait() == 0
        assert terminal.attributes() == before
        await terminal.wait_raw("\x1b[?25h\x1b[?1049l")


async def test_changes_are_pushed_and_a_small_terminal_is_scrolled() -> None:
    """Of four jobs it shows two; a job that ends goes, one that begins comes."""
    service = Busy()
    async with fake_server(service) as server, typed_terminal(90, 7) as terminal:
        async with under_way(service, terminal, server, "--sort", "started") as cli:
            assert shown_jobs(await terminal.wait_for("40001")) == ["40000", "40001"]
            terminal.type("\x1b[6~")
            assert shown_jobs(await terminal.wait_for("40003")) == ["40002", "40003"]
            terminal.type("\x1b[5~")
            await terminal.wait_for("40000")
            service.change(state=pb.JOB_STATE_FINISHED, removed=True)
            gone = service.jobs.pop(0)
            service.changes[-1].handle = gone.handle
            terminal.resize(90, 9)
            os.kill(cli.process.pid, signal.SIGWINCH)
            lines = await terminal.wait_for("3 jobs, 1 ended")
            assert len(lines) == 9
            os.kill(cli.process.pid, signal.SIGINT)
            assert await cli.process.wait() == 130


async def test_a_lost_connection_is_said_and_mended() -> None:
    """What was shown stays meanwhile."""
    service = Busy()
    async with fake_server(service) as server, typed_terminal(90, 12) as terminal:
        async with under_way(service, terminal, server) as cli:
            await terminal.wait_for("90%")
            server.break_connections()
            assert "40001" in "\n".join(await terminal.wait_for("Connection lost"))
            await server.serve()
            while "Connection lost" in "\n".join(terminal.lines()):
                await terminal.output.grown.wait()
            terminal.type("q")
            assert await cli.process.wait() == 0


async def test_control_z_gives_the_terminal_back_until_fg() -> None:
    """And takes it again."""
    service = Busy()
    async with fake_server(service) as server, typed_terminal(90, 12) as terminal:
        before = terminal.attributes()
        async with under_way(service, terminal, server) as cli:
            await terminal.wait_for("90%")
            pid = cli.process.pid
            os.kill(pid, signal.SIGTSTP)
            await trio.to_thread.run_sync(os.waitid, os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
            assert terminal.attributes() == before
            os.kill(pid, signal.SIGCONT)
            await terminal.wait_raw("\x1b[?1049l\x1b[?1049h")
            assert terminal.attributes() != before
            terminal.type("q")
            assert await cli.process.wait() == 0
        assert terminal.attributes() == before


async def test_what_the_server_refuses_leaves_the_terminal_as_it_was() -> None:
    """With the error on it, not on the other screen."""
    service = Busy()
    service.watch_errors = [RpcError(StatusCode.PERMISSION_DENIED, "no")]
    async with fake_server(service) as server, typed_terminal(90, 12) as terminal:
        async with under_way(service, terminal, server) as cli:
            assert await cli.process.wait() == 5
        await terminal.wait_raw("\x1b[?1049lError: no\r\n")
