"""The shell on a pseudo-terminal: its lines, what comes beside them, and how it is left."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
import trio
from cutting_proxy import cutting_proxy
from fake_service import (
    HANDLE,
    FakeService,
    chunk,
    fake_server,
    finished,
)
from penstock_shell import penstock_shell
from shell_dialogue import (
    CTRL_C,
    CTRL_D,
    CTRL_U,
    ENDED,
    TAB,
    UP,
    a_stream,
    encrypted_key,
    left,
    shell_of,
)
from this_run import this_run

from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode


async def test_every_line_is_a_command_line() -> None:
    """In the forms of ``penstock``, whose name may stand in front."""
    async with shell_of(a_stream(ends=True)) as (server, shell):
        assert await shell.runs("start ls -la") == [
            "Starting ls with -la...",
            f"Success! PID: {HANDLE}",
        ]
        assert await shell.runs(f"penstock stop {HANDLE}") == [
            f"Stopping {HANDLE}...",
            f"Job {HANDLE} successfully stopped!",
        ]
        assert await shell.runs("stream 48213") == [
            "Starting output stream for 48213...",
            "================",
            "- ls started",
            "1970-01-01T00:00:00.000Z one",
            "1970-01-01T00:00:00.000Z two",
            "The job exited with code 0.",
        ]
        assert await shell.runs("status 7") == [
            "Querying the status of 7...",
            "Error: Job 7 not found",
        ]
        assert await shell.runs("") == []
        assert await shell.runs("   # nothing") == []
        assert await shell.runs("start 'ls -la' \"a b\"") == [
            "Starting ls -la with a b...",
            f"Success! PID: {HANDLE}",
        ]
        assert [(each.command, [*each.argv]) for each in server.service.starts] == [
            ("ls", ["-la"]),
            ("ls -la", ["a b"]),
        ]
        await shell.enter("exit")
        await left(shell, 0)


async def test_all_lines_share_one_connection() -> None:
    """Beside, in front, completion, the bar; but not one to elsewhere."""
    service = a_stream(ends=False)
    service.jobs = [service.job]
    async with (
        fake_server(service) as server,
        cutting_proxy(server.port, Random(1), cuts=0, most_bytes=1) as proxy,
        penstock_shell(
            server.environment() | {"PENSTOCK_ADDR": f"127.0.0.1:{proxy.port}"}
        ) as shell,
    ):
        await shell.wait_bar("1 job running")
        await shell.runs("stream 48213 &")
        await shell.wait_for("48213: 1970-01-01T00:00:00.000Z two")
        for line in ("start ls", "list", f"stop {HANDLE}", "whoami", "wait 48213"):
            await shell.runs(line)
        shell.type(f"stop 48{TAB}")
        await shell.idle("stop 48213")
        shell.type(CTRL_U)
        assert proxy.connections == 1
        found = await shell.runs(f"--addr 127.0.0.1:{server.port} start ls")
        assert found[-1] == f"Success! PID: {HANDLE}"
        assert proxy.connections == 1
        shell.type(CTRL_D)
        await left(shell, 0)


async def test_what_is_no_command_line_says_so() -> None:
    """And the next one is taken."""
    async with shell_of() as (server, shell):
        (line,) = await shell.runs("stream 1 | cat")
        assert line.startswith("Error: this shell has no pipes: type the line into your own")
        found = await shell.runs("strat ls")
        assert found[-1].startswith("Error: No such command 'strat'.")
        assert (await shell.runs("stop"))[-1] == "Error: Missing argument 'PID...'."
        assert (await shell.runs("start 'ls"))[-1] == "Error: a quote is still open: '"
        assert server.service.starts == []
        helped = await shell.runs("help")
        assert helped[0].startswith("Usage: penstock [OPTIONS] COMMAND")
        assert "  ^D, exit      leaves; jobs run on" in helped
        shell.type(CTRL_D)
        await left(shell, 0)


async def test_the_agent_is_asked_beside_the_shell() -> None:
    """It is another program, and in a process of one verb goes on in that verb's place."""
    with TemporaryDirectory(
        dir=this_run().directory
    ) as runtime:  # tmp_path is too long for sockets
        variables = {"XDG_RUNTIME_DIR": runtime}
        async with shell_of(variables=variables) as (_, shell):
            assert await shell.runs("agent") == ["No agent runs for default."]
            (line,) = await shell.runs("--context ../lab agent stop")
            assert line.startswith("Error: '../lab' is no name of a context")
            (line,) = await shell.runs("agent run")
            assert "type penstock agent run into your own shell" in line
            shell.type(CTRL_D)
            await left(shell, 0)


async def test_the_bar_says_who_and_where_we_are() -> None:
    """And how many jobs run, as they change; without the verbs for it, what is known."""
    service = FakeService()
    service.jobs = [service.job]
    async with shell_of(service) as (server, shell):
        where = f"127.0.0.1:{server.port}"
        await shell.wait_bar(f"alice@{where} · connected · 1 job running")
        service.change(handle="7", job=pb.Job(handle="7", state=pb.JOB_STATE_RUNNING))
        await shell.wait_bar("2 jobs running")
        service.change(handle="7", removed=True)
        await shell.wait_bar("1 job running")
    denied = FakeService()
    denied.watch_errors = [RpcError(StatusCode.PERMISSION_DENIED, "not granted")]
    async with shell_of(denied) as (server, shell):
        bar = await shell.wait_bar("alice@")
        assert "running" not in bar
        assert await shell.runs(f"stop {HANDLE}") == [
            f"Stopping {HANDLE}...",
            f"Job {HANDLE} successfully stopped!",
        ]


async def test_a_cut_and_a_restart_are_said_and_mended() -> None:
    """While nothing is asked for, while a stream runs beside, and while a line is typed."""
    service = a_stream(ends=False)
    async with shell_of(service) as (server, shell):
        await shell.wait_bar("connected")
        await shell.runs("stream 48213 &")
        await shell.wait_for("48213: 1970-01-01T00:00:00.000Z two")
        shell.type("list")
        server.break_connections()
        await shell.wait_for("Connection lost (")
        await shell.wait_bar("not connected")
        await server.serve()
        await shell.wait_for(
            "Connected again", "48213: Connected again; the output goes on at byte 8"
        )
        assert (await shell.idle("list")).cursor_line == "> list"
        await shell.wait_bar("· connected")
        shell.type(CTRL_U)
        assert (await shell.runs("start ls"))[-1] == f"Success! PID: {HANDLE}"
        server.restart()
        await shell.wait_for("the server is shutting down")
        # The stream beside reports its own reconnecting before it or behind it.
        assert f"Success! PID: {HANDLE}" in await shell.runs("start ls")
        assert len(service.starts) == 2
        service.messages = [*service.messages, chunk(b"three\n", offset=8), finished()]
        service.stream_may_end.set()
        await shell.idle()
        shell.type(CTRL_D)
        await left(shell, 0)


async def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    """The prompt is there at once; a verb reports it within its own bound."""
    async with fake_server() as server:
        server.break_connections()
        environment = server.environment()
        async with penstock_shell(environment, "--connect-timeout", "0") as shell:
            await shell.wait_for("Not connected (", "trying to connect until you leave")
            found = await shell.runs("list")
            assert found[-1].startswith("Error: 127.0.0.1 port"), found
            await server.serve()
            await shell.wait_for("Connected again")
            assert (await shell.runs("start ls"))[-1] == f"Success! PID: {HANDLE}"


async def test_an_interrupt_is_the_verbs_and_not_the_shells() -> None:
    """^C of a stream detaches; at the prompt it clears the line; a job that runs is stopped."""
    service = a_stream(ends=False)
    async with shell_of(service) as (_server, shell):
        await shell.enter("stream 48213")
        await shell.wait_for("Z two")
        shell.type(CTRL_C)
        await shell.wait_for("Detached; go on with: penstock stream 48213 --offset 8")
        await shell.idle()
        shell.type("stop 48213")
        await shell.idle("stop 48213")
        shell.type(CTRL_C)
        await shell.idle()
        assert (await shell.runs("start ls"))[-1] == f"Success! PID: {HANDLE}"
        os.kill(shell.process.pid, signal.SIGINT)  # from elsewhere, as from the keyboard
        assert (await shell.runs("start ls"))[-1] == f"Success! PID: {HANDLE}"
        assert service.stops == []
        service.at_stop = [finished(143)]
        await shell.enter("run ls")
        await shell.wait_for("Z two", "\none\ntwo")
        shell.type(CTRL_C)
        await service.stop_arrived.wait()
        await shell.idle()
        shell.type(CTRL_D)
        await left(shell, 0)


async def test_interrupts_at_any_moment_break_nothing() -> None:
    """Between lines, while they are drawn, run and left: each clears a line or is a verb's."""
    async with shell_of() as (_server, shell):
        await shell.idle()
        for number in range(40):
            os.kill(shell.process.pid, signal.SIGINT)
            if number % 4 == 0:
                shell.type("start ls\r")
            with trio.move_on_after(0.05):  # two that come at once are one, and show nothing more
                await shell.output.grown.wait()
        shell.type(f"{CTRL_U}frobnicate\r")
        await shell.wait_for("No such command 'frobnicate'")
        assert (await shell.runs("start ls"))[-1] == f"Success! PID: {HANDLE}"
        assert "Traceback" not in shell.raw
        shell.type(CTRL_D)
        await left(shell, 0)


async def test_a_line_beside_leaves_the_prompt_alone() -> None:
    """Its lines come above it, with the job's handle in front, harmless."""
    service = a_stream(ends=False)
    service.messages = [chunk(b"\x1b[2Jone\n")]
    async with shell_of(service) as (_server, shell):
        await shell.enter("run ls &")
        await shell.wait_for(f"{HANDLE}: \\x1b[2Jone")
        await shell.wait_bar("1 beside")
        shell.type("start l")
        await shell.idle("start l")
        service.at_stop = [chunk(b"two\n", offset=len(b"\x1b[2Jone\n")), finished()]
        service.stream_may_end.set()
        await shell.wait_for(f"{HANDLE}: two")
        await shell.idle("start l")
        shell.type("s\r")
        await shell.wait_for("Success! PID:")
        assert (await shell.runs("frobnicate &"))[:0] == []
        await shell.wait_for("[2]: Error: No such command 'frobnicate'.")
        shell.type(CTRL_D)
        await left(shell, 0)


async def test_more_lines_beside_than_a_connection_carries_are_refused() -> None:
    """Because their streams share its window."""
    service = a_stream(ends=False)
    async with shell_of(service) as (_server, shell):
        for number in range(12):
            await shell.enter("stream -q 48213 &")
            await shell.wait_bar(f"{number + 1} beside")
        await shell.enter("stream 48213 &")
        await shell.wait_for("Error: 12 lines run beside already, which is the most; wait")
        assert "12 beside" in await shell.wait_bar("beside")


async def test_leaving_says_what_goes_on_and_stops_nothing() -> None:
    """C65: at ^D, with a stream and a run beside."""
    service = a_stream(ends=False)
    async with shell_of(service) as (_server, shell):
        await shell.runs("stream 48213 &")
        await shell.wait_for("48213: 1970-01-01T00:00:00.000Z two")
        await shell.runs("run ls &")
        await shell.wait_for("48213: one")
        await shell.idle()
        shell.type(CTRL_D)
        await left(shell, 0)
        shown = shell.shown
        assert "48213: Detached; go on with: penstock stream 48213 --offset 8" in shown
        assert "Left job 48213, which runs on; go on with: penstock stream 48213" in shown
        assert service.stops == []


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("", signal.SIGTERM),
        pytest.param("", signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param("stream 48213", signal.SIGTERM, marks=pytest.mark.slow),
        ("stream 48213", signal.SIGHUP),
        ("run ls", signal.SIGTERM),
        pytest.param("run ls", signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
async def test_a_signal_leaves_the_shell_and_stops_no_job(line: str, number: int) -> None:
    """C65, C66: at the prompt, with a stream in front, with a run in front."""
    service = a_stream(ends=False)
    async with shell_of(service) as (_server, shell):
        await shell.idle()
        if line:
            shell.type(f"{line}\r")
            await shell.wait_for("two")
        else:
            shell.type("half a line")
            await shell.idle("half a line")
        os.kill(shell.process.pid, number)
        await left(shell, ENDED + number)
        assert ("go on with: penstock stream 48213" in shell.shown) == bool(line)
        assert service.stops == []


async def test_a_start_under_way_is_not_lost_as_the_shell_is_left() -> None:
    """C65: its handle is waited for; one that does not come is named as open."""
    service = FakeService()
    service.start_may_answer = trio.Event()
    async with shell_of(service) as (_server, shell):
        await shell.enter("start ls")
        await service.start_arrived.wait()
        os.kill(shell.process.pid, signal.SIGTERM)
        service.start_may_answer.set()
        await left(shell, ENDED + signal.SIGTERM)
        assert f"Success! PID: {HANDLE}" in shell.shown


async def test_a_further_signal_waits_for_nothing() -> None:
    """C65: what was asked for completes at the server, and the shell says so."""
    service = FakeService()
    service.start_may_answer = trio.Event()
    async with shell_of(service) as (_server, shell):
        await shell.enter("start ls")
        await service.start_arrived.wait()
        os.kill(shell.process.pid, signal.SIGTERM)
        await shell.wait_for("Waiting 3 s for the server's answer")
        os.kill(shell.process.pid, signal.SIGINT)
        await left(shell, ENDED + signal.SIGTERM)
        assert "Left: start ls; what the server was asked for completes" in shell.shown
        assert "Success!" not in shell.shown


async def test_a_stop_under_way_completes_though_the_shell_is_left() -> None:
    """C65: the shell waits for no grace; a further signal waits for nothing."""
    service = FakeService()
    service.stop_may_answer = trio.Event()
    async with shell_of(service) as (_server, shell):
        await shell.enter("stop 48213")
        await service.stop_arrived.wait()
        os.kill(shell.process.pid, signal.SIGTERM)
        await left(shell, ENDED + signal.SIGTERM)
        assert "Detached; " in shell.shown
        assert len(service.stops) == 1


async def test_a_terminal_that_closes_leaves_the_shell() -> None:
    """C66: as a window that is closed does; the job of a run in front runs on."""
    service = a_stream(ends=False)
    async with shell_of(service) as (_server, shell):
        await shell.enter("run ls")
        await shell.wait_for("\none\ntwo")
        await shell.hang_up()
        assert await shell.end() == ENDED + signal.SIGHUP
        assert service.stops == []


_CRASHES = """
import sys
from penstock.cli import job_list, main
from penstock.cli.shell import interactive
async def crash(*args, **given):
    raise RuntimeError("a bug")
if sys.argv[1] == "verb":
    job_list.list_jobs = crash
else:
    interactive.Shell._take = crash
del sys.argv[1]
main()
"""


async def test_a_crash_of_a_verb_is_shown_and_ends_nothing_else() -> None:
    """Its traceback is for a report of the bug."""
    async with shell_of(program=(sys.executable, "-c", _CRASHES, "verb")) as (_server, shell):
        assert (await shell.runs("list"))[-1] == "RuntimeError: a bug"
        assert (await shell.runs("start ls"))[-1] == f"Success! PID: {HANDLE}"
        shell.type(CTRL_D)
        await left(shell, 0)


async def test_a_crash_of_the_shell_gives_the_terminal_back() -> None:
    """As it was."""
    async with shell_of(program=(sys.executable, "-c", _CRASHES, "shell")) as (_server, shell):
        await shell.enter("list")
        await left(shell, 1)
        assert "RuntimeError: a bug" in shell.shown


async def test_many_lines_are_pasted() -> None:
    """As one paste, and typed ahead of the prompt: each is run, in order, and ^C drops the rest."""
    service = a_stream(ends=False)
    async with shell_of(service) as (_server, shell):
        await shell.idle()
        pasted = "\n".join(f"start ls {number}" for number in range(40))
        shell.type(f"\x1b[200~{pasted}\x1b[201~\r")
        while len(service.starts) < 40:
            await shell.output.grown.wait()
        await shell.idle()
        for number in range(40, 60):
            shell.type(f"start ls {number}\r")
        while len(service.starts) < 60:
            await shell.output.grown.wait()
        assert [each.argv[0] for each in service.starts] == [str(each) for each in range(60)]
        await shell.idle()
        shell.type("\x1b[200~stream 48213\nstart ls dropped\x1b[201~\r")
        await shell.wait_for("Z two")
        shell.type(CTRL_C)
        await shell.wait_for("Detached")
        await shell.idle()
        assert len(service.starts) == 60


@pytest.mark.parametrize("columns", [12, pytest.param(20, marks=pytest.mark.slow)])
async def test_a_narrow_window_shows_what_fits(columns: int) -> None:
    """And more once it is wider."""
    async with shell_of(columns=columns, rows=8) as (_server, shell):
        await shell.wait_bar("alice@")
        await shell.enter("start ls")
        await shell.wait_for("Success! PI"[: columns - 1])
        await shell.idle()
        shell.resize(100, 24)
        while "connected · 0 jobs running" not in shell.raw:
            await shell.output.grown.wait()


async def test_colours_are_none_where_they_are_not_wanted() -> None:
    """NO_COLOR: no colour in the prompt, the bar and the completion's menu."""
    async with shell_of(variables={"NO_COLOR": "1"}) as (_server, shell):
        await shell.wait_bar("connected")
        shell.type(f"st{TAB}")
        await shell.wait_for("status")
        shell.type(f"{CTRL_U}{CTRL_D}")
        await shell.end()
        for sequence in re.findall(r"\x1b\[([0-9;]*)m", shell.raw):
            codes = {int(part) for part in sequence.split(";") if part}
            assert not codes & {*range(30, 50), *range(90, 108)}, sequence


async def test_a_dumb_terminal_gets_a_plain_prompt() -> None:
    """No sequence at all; lines, ^C, output from beside and ^D as elsewhere."""
    service = a_stream(ends=False)
    async with shell_of(service, variables={"TERM": "dumb"}) as (server, shell):
        await shell.enter("start ls")
        await shell.wait_for("Starting ls...", f"Success! PID: {HANDLE}")
        await shell.idle()
        shell.type("stream 48213 &\r")
        await shell.wait_for("48213: 1970-01-01T00:00:00.000Z two")
        await shell.idle()
        shell.type("top\r")  # which draws elsewhere
        await shell.wait_for("HELD UP")
        await shell.idle()
        shell.type("stop 482")
        await shell.wait_for("> stop 482")
        shell.type(CTRL_C)
        await shell.idle()
        server.break_connections()
        await shell.wait_for("Connection lost (")
        await server.serve()
        await shell.wait_for("Connected again")
        await shell.idle()
        shell.type(CTRL_D)
        await left(shell, 0)
        assert "\x1b" not in shell.raw
        assert shell.raw.endswith("\n")  # whose prompt comes next begins a line
        assert service.stops == []


async def test_tab_completes_verbs_jobs_and_granted_commands() -> None:
    """Over the connection that is there: names with blanks in them are quoted."""
    service = FakeService()
    service.jobs = [pb.Job(handle="90001", name="nightly", state=pb.JOB_STATE_RUNNING)]
    granted = service.who_am_i.commands.add(name="backup", usage=["backup (full|delta)"])
    granted.slots.add(kind="enum", choices=["full", "delta of today"])
    async with shell_of(service) as (_server, shell):
        for typed, completed in (
            ("whoa", "whoami"),
            ("stream --no-t", "stream --no-timestamps"),
            ("penstock stop ni", "penstock stop nightly"),
            ("stop 90", "stop 90001"),
            ("start ba", "start backup"),
            ("start backup f", "start backup full"),
            ("start backup d", "start backup 'delta of today'"),
            ("exi", "exit"),
        ):
            await shell.idle()
            shell.type(f"{typed}{TAB}")
            await shell.idle(completed)
            shell.type(CTRL_U)


async def test_a_server_that_does_not_answer_keeps_no_key_waiting() -> None:
    """Completion gives up by itself."""
    service = FakeService()
    async with shell_of(service) as (server, shell):
        await shell.wait_bar("connected")
        server.break_connections()
        await shell.wait_for("Connection lost")
        shell.type(f"stop 9{TAB}001")
        await shell.idle("stop 9001")


async def test_lines_come_back_by_the_history(tmp_path: Path) -> None:
    """Of this shell and of one before; without secrets and what begins with a blank."""
    async with shell_of(home=tmp_path) as (_server, shell):
        for line in ("start ls", "start -e TOKEN=secret ls", " start ls hidden"):
            assert (await shell.runs(line))[-1] == f"Success! PID: {HANDLE}"
        shell.type(UP)
        await shell.idle("start ls")
        shell.type(f"{CTRL_U}{CTRL_D}")
        await left(shell, 0)
    async with shell_of(home=tmp_path) as (_server, shell):
        await shell.idle()
        shell.type(UP)
        await shell.idle("start ls")
        shell.type(f"{CTRL_U}start ls\r{UP}")  # also in front of the next prompt
        await shell.wait_for("Success! PID:")
        await shell.idle("start ls")
    kept = (tmp_path / ".local/state/penstock/history").read_text()
    assert kept == "start ls\n"


async def test_a_verb_that_takes_the_whole_screen_gives_it_back() -> None:
    """What comes beside meanwhile is shown afterwards."""
    service = a_stream(ends=False)
    async with shell_of(service) as (server, shell):
        await shell.wait_bar("connected")
        await shell.enter("top")
        while "\x1b[?1049h" not in shell.raw or "q quit" not in shell.raw:
            await shell.output.grown.wait()
        server.break_connections()
        await server.serve()
        shell.type("q")
        await shell.wait_for("Connected again")
        await shell.idle()
        after = shell.raw.rpartition("\x1b[?1049l")[2]
        assert "Connected again" in after
        shell.type(CTRL_D)
        await left(shell, 0)


async def test_a_verb_reads_what_is_typed() -> None:
    """To ^D, and the next line is the prompt's again."""
    service = FakeService()
    async with shell_of(service) as (_server, shell):
        await shell.enter("send 48213")
        await shell.cooked()
        shell.type("hello\r")
        await service.wait_input(6)
        shell.type(CTRL_D)
        await service.wait_end_of_input()
        await shell.wait_for("Job 48213 was sent 6 bytes in all, and its end.")
        assert (await shell.runs("start ls"))[-1] == f"Success! PID: {HANDLE}"
        assert bytes(service.input) == b"hello\n"


# As a shell with job control runs a program: in a process group of its own, in front.
_IN_FRONT = """
import os, signal, sys
def take_terminal():
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
child = os.fork()
if not child:
    take_terminal()
    os.execv(sys.executable, [sys.executable, "-m", "penstock.cli", *sys.argv[1:]])
_, status = os.waitpid(child, os.WUNTRACED)
assert os.WIFSTOPPED(status), status
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.tcsetpgrp(0, os.getpid())
input("STOPPED")
os.tcsetpgrp(0, child)
os.killpg(child, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


async def test_a_stopped_shell_goes_on() -> None:
    """^Z at the prompt stops it, as a shell's user expects; the terminal is usable meanwhile."""
    async with shell_of(program=(sys.executable, "-c", _IN_FRONT)) as (_server, shell):
        await shell.wait_bar("connected")
        shell.type("sta\x1a")
        await shell.wait_for("STOPPED")
        assert shell.attributes() == shell.before
        shell.type("\r")
        await shell.idle("sta")
        shell.type("rt ls\r")
        await shell.wait_for(f"Success! PID: {HANDLE}")
        await shell.idle()
        shell.type(CTRL_D)
        await left(shell, 0)


async def test_a_passphrase_is_asked_for_once(tmp_path: Path) -> None:
    """Unseen, as the shell begins; every line and each connection has it."""
    async with fake_server() as server:
        key = await encrypted_key(server, tmp_path)
        environment = server.environment()
        async with penstock_shell(environment | {"PENSTOCK_KEY": str(key)}) as shell:
            await shell.wait_for(f"Passphrase of {key}:")
            shell.type("secret\r")
            assert (await shell.runs("start ls"))[-1] == f"Success! PID: {HANDLE}"
            server.break_connections()
            await shell.wait_for("Connection lost")
            await server.serve()
            await shell.wait_for("Connected again")
            assert (await shell.runs("start ls"))[-1] == f"Success! PID: {HANDLE}"
            # Whatever a line names beside that key; and no line can send it to a job.
            line = f"--addr {environment['PENSTOCK_ADDR']} --key {key} start ls"
            assert (await shell.runs(line))[-1] == f"Success! PID: {HANDLE}"
            said = await shell.runs("start -e PENSTOCK_KEY_PASSPHRASE ls")
            assert "PENSTOCK_KEY_PASSPHRASE" in said[-1]
            assert said[-1].startswith("Error: ")
            assert shell.shown.count("Passphrase") == 1
            assert "secret" not in shell.raw
            shell.type(CTRL_D)
            await left(shell, 0)


async def test_a_wrong_passphrase_is_said_at_once(tmp_path: Path) -> None:
    """As by a verb, because no further attempt could open the key."""
    async with fake_server() as server:
        key = await encrypted_key(server, tmp_path)
        async with penstock_shell(server.environment() | {"PENSTOCK_KEY": str(key)}) as shell:
            await shell.wait_for(f"Passphrase of {key}:")
            shell.type("wrong\r")
            await left(shell, 2)
            assert "Error: the passphrase does not open" in shell.shown


async def test_without_a_terminal_there_is_no_shell() -> None:
    """The usage, as ever; nor with a flag alone."""
    async with fake_server() as server:
        done = await server.run_cli()
        assert done.code == 2
        assert (done.out + done.err).startswith(b"Usage: penstock [OPTIONS] COMMAND")
        done = await server.run_cli("--context", "lab")
        assert done.code == 2
        assert b"Error: Missing command." in done.err


async def test_a_shell_without_a_server_says_what_to_set() -> None:
    """Before there is a prompt."""
    async with penstock_shell({"PATH": os.environ["PATH"]}) as shell:
        await left(shell, 2)
        assert shell.shown.startswith("Error: no server to connect to: give --addr")
        assert "all commands: penstock --help" in " ".join(shell.shown.split())


def test_the_shell_is_loaded_by_nothing_else() -> None:
    """Its libraries take longer to import than a verb takes to run."""
    text = "import sys; from penstock.cli import root, verbs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert not {"prompt_toolkit", "asyncio", "penstock.cli.shell"} & {*done.stdout.split()}
