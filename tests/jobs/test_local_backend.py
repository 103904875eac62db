"""LocalBackend over a socket whose other end is a test: what a broken supervisor costs."""

import math
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from leaks import Descriptors
from supervisor_end import JOB, STARTED, WELCOME, Supervisor, connected, exited, started, welcome

from penstock.jobs.backends.base import (
    HeldJob,
    JobSpec,
    StartedJob,
    StartRefused,
)
from penstock.jobs.backends.local import LocalBackend
from penstock.jobs.end_record import EndRecord
from penstock.jobs.job_errors import SupervisorSilent, Unavailable
from penstock.jobs.manager import open_manager
from penstock.jobs.verdict import start_error
from penstock.supervisor.ipc import protocol
from penstock.supervisor.ipc.from_supervisor import Left, ReplacedFile


async def test_a_caller_that_leaves_does_not_undo_what_it_asked() -> None:
    """C18: the pause is on its way, and what becomes of it is known to the next who looks."""
    async with connected() as (backend, supervisor):
        os.close((await started(backend, supervisor)).pipes.stdout_fd)
        asked: list[tuple[Callable[[], Awaitable[object]], str]] = [
            (partial(backend.set_paused, JOB, True), "PAUSE"),
            (partial(backend.signal, JOB, 1), "SIGNAL"),
        ]
        for ask, kind in asked:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ask)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            assert supervisor.heard()["type"] == kind
        assert not backend.is_paused(JOB)
        supervisor.say("PAUSED", id=JOB, paused=True, message="")
        supervisor.say("SIGNALED", id=JOB, count=1)
        await trio.testing.wait_all_tasks_blocked()
        assert backend.is_paused(JOB)
        counts: list[int] = []

        async def again() -> None:
            counts.append(await backend.signal(JOB, 2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(again)
            await trio.testing.wait_all_tasks_blocked()
            supervisor.say("SIGNALED", id=JOB, count=7)
        assert counts == [7], "the answer of its own question"


async def test_nothing_is_kept_of_a_job_that_was_released() -> None:
    """Also if it was asked about something until its end, and the answer came after that."""
    async with connected() as (backend, supervisor):
        before = _sizes(backend)
        os.close((await started(backend, supervisor)).pipes.stdout_fd)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.signal, JOB, 1)
            await trio.testing.wait_all_tasks_blocked()
            backend.release(JOB)
            supervisor.say("SIGNALED", id=JOB, count=0)
        assert _sizes(backend) == before


def _sizes(backend: LocalBackend) -> list[int]:
    """Of all that it has by job."""
    found = [*vars(backend._incoming).values(), *vars(backend._requests).values()]
    sizes = [len(value) for value in found if isinstance(value, dict)]
    assert len(sizes) == 2
    return sizes


async def test_a_supervisor_that_dies_with_words_unread_loses_its_jobs_only() -> None:
    """C14, C50: no exception leaves the backend; the verdict is `lost`."""
    async with connected() as (backend, supervisor):
        os.close((await started(backend, supervisor)).pipes.stdout_fd)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.signal, JOB, 15)  # never read
            await trio.testing.wait_all_tasks_blocked()
            supervisor.die()
        verdict = await backend.wait(JOB)
        assert verdict.kind == "lost"
        assert verdict.detail == "the supervisor is gone"
        assert await backend.signal(JOB, 15) == 0


async def test_a_supervisor_that_dies_while_a_job_starts_leaves_it_to_nobody() -> None:
    """No STARTED has brought what would end it; WELCOME has."""
    read_fd, write_fd = os.pipe()
    async with connected(write_fd) as (backend, supervisor), trio.open_nursery() as nursery:
        nursery.start_soon(backend.start, JOB, JobSpec("sleep"), "alice")
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.heard()["type"] == "START"
        supervisor.die()
    assert os.read(read_fd, 2) == b"1"
    os.close(read_fd)


async def test_a_server_that_leaves_ends_no_job() -> None:
    """They are the next one's."""
    read_fd, write_fd = os.pipe()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    with trio.socket.from_stdlib_socket(ours) as sock, theirs:
        backend = LocalBackend(sock)
        welcome(Supervisor(theirs), write_fd)
        await backend.greet()
        with trio.CancelScope() as scope:
            scope.cancel()
            await backend.run()
    assert os.read(read_fd, 2) == b""
    os.close(read_fd)


async def test_the_last_words_of_a_dead_supervisor_are_heard() -> None:
    """C14: what it said before it died is true, though it left a message of ours unread."""
    async with connected() as (backend, supervisor):
        os.close((await started(backend, supervisor)).pipes.stdout_fd)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.signal, JOB, 15)
            await trio.testing.wait_all_tasks_blocked()
            supervisor.say("EXITED", **exited(3 << 8))
            supervisor.say("EMPTIED", id=JOB, killed=0, counters={})
            supervisor.die()
        verdict = await backend.wait(JOB)
        assert (verdict.kind, verdict.code) == ("exited", 3)


@pytest.mark.parametrize(
    ("kind", "about"),
    [
        ("NONSENSE", {}),
        ("EXITED", exited(0, timed_out=0)),
        ("EMPTIED", {"id": JOB, "killed": True, "counters": {}}),
        ("PAUSED", {"id": JOB, "message": ""}),
        ("SIGNALED", {"id": JOB, "count": 1}),  # which nobody has asked for
        ("BEAT", {"surplus": 1}),
    ],
)
async def test_a_message_that_makes_no_sense_ends_the_connection(
    kind: str, about: dict[str, Any]
) -> None:
    """Its jobs are lost; no exception leaves the backend."""
    async with connected() as (backend, supervisor):
        os.close((await started(backend, supervisor)).pipes.stdout_fd)
        supervisor.say(kind, **about)
        assert (await backend.wait(JOB)).kind == "lost"
        assert "connection broke" in backend.lost


async def test_descriptors_that_no_field_names_are_closed() -> None:
    """They end the connection, as what they are for is unknown; the leak check sees the rest."""
    async with connected() as (backend, supervisor):
        os.close((await started(backend, supervisor)).pipes.stdout_fd)
        supervisor.say("EXITED", [pipe_end()], **exited(0))
        assert (await backend.wait(JOB)).kind == "lost"


async def test_a_job_whose_pipes_did_not_arrive_is_refused_and_ended() -> None:
    """Out of descriptors the kernel cuts them off in silence: the job must not run unread."""
    async with connected() as (backend, supervisor):
        answers: list[StartedJob | StartRefused] = []

        async def start() -> None:
            answers.append(await backend.start(JOB, JobSpec("sleep"), "alice"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.heard()["type"] == "START"
            pipe_read, pipe_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            os.close(pipe_write)
            supervisor.say("STARTED", [pipe_read], **STARTED, fds=["stdout", "stderr"])
        await trio.testing.wait_all_tasks_blocked()
        (answer,) = answers
        assert isinstance(answer, StartRefused)
        assert answer.fault == protocol.EXHAUSTED
        assert supervisor.heard() == {"type": "RELEASE", "id": JOB}
        # What it still says of that job interests nobody, and hurts nobody.
        supervisor.say("EXITED", **exited(9))
        supervisor.say("EMPTIED", id=JOB, killed=1, counters={})
        await trio.testing.wait_all_tasks_blocked()


def held(job_id: str, fds: list[str], **changed: Any) -> dict[str, Any]:
    return STARTED | {"id": job_id, "opaque": "alice", "paused": False, "fds": fds} | changed


def pipe_end() -> int:
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.close(write_fd)
    return read_fd


async def test_jobs_of_the_server_before_are_asked_for_one_by_one() -> None:
    """C13: each is held from then on; what cannot be held must not run unread; one that was still
    starting may have failed meanwhile. What is its own to kill with is kept of each."""
    kill_read, kill_write = os.pipe()
    first, second = "1" * 32, "2" * 32
    async with connected() as (backend, supervisor):
        taken: list[HeldJob] = []

        async def take() -> None:
            taken.extend(await backend.take_held())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.heard()["type"] == "TAKE"
            fds = [pipe_end(), kill_write]
            supervisor.say("HELD", fds, **held(first, ["stdout", "kill"], paused=True))
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.heard()["type"] == "TAKE"
            # One of both has not arrived: this process has no free descriptors.
            supervisor.say("HELD", [pipe_end()], **held(second, ["stdout", "stderr"]))
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.heard() == {"type": "RELEASE", "id": second}
            assert supervisor.heard()["type"] == "TAKE"
            refusal = {"id": "3" * 32, "fault": "failed", "stage": "", "errno": 0, "message": ""}
            supervisor.say("REFUSED", **refusal)
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.heard()["type"] == "TAKE"
            supervisor.say("NOTHING")
        (found,) = taken
        assert (found.id, found.owner, found.started.pid) == (first, "alice", 7)
        os.close(found.pipes.stdout_fd)
        assert backend.is_paused(first)
        assert not backend.is_paused(second)
        supervisor.die()
        assert (await backend.wait(first)).kind == "lost"
    assert os.read(kill_read, 2) == b"1", "with nobody to hold it, it is ended by its group"
    os.close(kill_read)


async def test_what_was_held_is_what_came_before_the_end() -> None:
    """C14, C35: a supervisor that dies meanwhile holds nobody up; afterwards there is nothing."""
    async with connected() as (backend, supervisor):
        taken: list[HeldJob] = []

        async def take() -> None:
            taken.extend(await backend.take_held())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            supervisor.say("HELD", [pipe_end()], **held(JOB, ["stdout"]))
            await trio.testing.wait_all_tasks_blocked()
            supervisor.die()
        assert [each.id for each in taken] == [JOB]
        os.close(taken[0].pipes.stdout_fd)
        await backend.wait_closed()
        assert await backend.take_held() == []


async def test_a_supervisor_that_dies_during_a_takeover_takes_its_jobs_with_it(
    tmp_path: Path,
) -> None:
    """C35: what was handed over by then and what was not: each is killed from here and has an
    end record that says so, and no caller waits for what the supervisor held."""
    before = FakeBackend()
    async with open_manager(before, str(tmp_path)) as manager:
        jobs = [await manager.start("alice", JobSpec("sleep")) for _ in range(2)]
        manager.leave()
    all_read, all_write = os.pipe()
    own_read, own_write = os.pipe()
    async with connected(all_write) as (backend, supervisor):
        ends: list[EndRecord] = []

        async def take_over() -> None:
            async with open_manager(backend, str(tmp_path)) as manager:
                for job in jobs:
                    ends.append(await manager.get(job.handle, owner="alice").wait_finished())
                with pytest.raises(Unavailable, match="the supervisor is gone"):
                    await manager.start("alice", JobSpec("sleep"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_over)
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.heard()["type"] == "TAKE"
            fds = [pipe_end(), own_write]
            supervisor.say("HELD", fds, **held(jobs[0].id, ["stdout", "kill"]))
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.heard()["type"] == "TAKE"
            supervisor.die()
        assert [end.reason for end in ends] == ["lost", "lost"]
        assert ends[0].detail == "the supervisor is gone"
    for job in jobs:
        before.release(job.id)
    for fd in (all_read, own_read):
        assert os.read(fd, 2) == b"1"
        os.close(fd)


async def test_who_is_cancelled_taking_jobs_over_keeps_nothing_of_them() -> None:
    """C13: what has come is closed, and so is what comes still; the connection goes on."""
    fds = Descriptors()
    async with connected() as (backend, supervisor):
        before = fds.opened_since()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(backend.take_held)
                await trio.testing.wait_all_tasks_blocked()
                supervisor.say("HELD", [pipe_end()], **held("1" * 32, ["stdout"]))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        supervisor.say("HELD", [pipe_end()], **held("2" * 32, ["stdout"]))
        await trio.testing.wait_all_tasks_blocked()
        assert fds.opened_since() == before
        assert [supervisor.heard()["type"] for _ in range(2)] == ["TAKE"] * 2


async def test_who_is_cancelled_starting_a_job_keeps_nothing_of_it_but_the_way_to_end_it() -> None:
    """C4: it runs, and can be killed; its pipes are nobody's here."""
    fds = Descriptors()
    async with connected() as (backend, supervisor):
        before = fds.opened_since()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(backend.start, JOB, JobSpec("sleep"), "alice")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert supervisor.heard()["type"] == "START"
        supervisor.say("STARTED", [pipe_end()], **STARTED, fds=["stdout"])
        await trio.testing.wait_all_tasks_blocked()
        assert fds.opened_since() == before
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.kill, JOB)
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.heard()["type"] == "KILL"
            supervisor.say("KILLED", id=JOB, count=1)


async def test_a_start_that_comes_too_late_is_for_another_server() -> None:
    """C32: penstockd is ending, which is no fault of the request: it may be asked again."""
    async with connected() as (backend, supervisor):
        answers: list[object] = []

        async def start() -> None:
            answers.append(await backend.start(JOB, JobSpec("sleep"), "alice"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            about = {"fault": protocol.FAILED, "stage": protocol.STOPPING, "errno": 0}
            supervisor.say("REFUSED", id=JOB, **about, message="penstockd is stopping")
        (refused,) = answers
        assert isinstance(refused, StartRefused)
        error = start_error(refused)
        assert isinstance(error, Unavailable)
        assert str(error) == "penstockd is stopping"


async def test_a_job_whose_status_nobody_has_is_lost() -> None:
    """C36: its subreaper was killed; with a status that is made up it would pass for a success."""
    async with connected() as (backend, supervisor):
        os.close((await started(backend, supervisor)).pipes.stdout_fd)
        supervisor.say("EXITED", **exited(None))
        supervisor.say("EMPTIED", id=JOB, killed=1, counters={})
        verdict = await backend.wait(JOB)
        assert (verdict.kind, verdict.code) == ("lost", None)
        assert verdict.detail == "the exit status could not be collected"


async def test_without_a_supervisor_every_request_has_its_answer() -> None:
    """C14, C50: nothing waits for ever, nothing is claimed to be done, and why is said."""
    async with connected() as (backend, supervisor):
        supervisor.die()
        await backend.wait_closed()
        answer = await backend.start(JOB, JobSpec("sleep"), "alice")
        assert answer == StartRefused("lost", "the supervisor is gone")
        assert await backend.set_paused(JOB, True) == "the supervisor is gone"
        assert await backend.kill(JOB) == 0
        assert await backend.inspect(JOB) == []
        assert not backend.is_paused(JOB)


async def test_a_pause_is_done_or_says_why_not() -> None:
    """The text is the supervisor's; what a job has left is told with names and states."""
    async with connected() as (backend, supervisor):
        os.close((await started(backend, supervisor)).pipes.stdout_fd)
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await backend.set_paused(JOB, True))
            answers.append(await backend.set_paused(JOB, False))
            answers.append(await backend.kill(JOB))
            answers.append(await backend.inspect(JOB))

        process = {"pid": 9, "name": "cat", "state": "D", "wchan": "io_schedule"}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            for kind, said in (
                ("PAUSED", {"paused": True, "message": ""}),
                ("PAUSED", {"paused": True, "message": "it cannot be"}),
                ("KILLED", {"count": 2}),
                ("INSPECTED", {"processes": [process]}),
            ):
                await trio.testing.wait_all_tasks_blocked()
                supervisor.say(kind, id=JOB, **said)
        assert answers == ["", "it cannot be", 2, [Left(9, "cat", "D", "io_schedule")]]
        backend.close_input(JOB)
        await trio.testing.wait_all_tasks_blocked()
        kinds = [supervisor.heard()["type"] for _ in range(5)]
        asked = ["PAUSE", "PAUSE", "KILL", "INSPECT"]
        assert kinds == [*asked, "CLOSE_INPUT"]


REPLACED = {
    "id": JOB,
    "files": [
        {"path": "/bin/sleep", "before": "inode 1", "now": "inode 2"},
        {"path": "/opt/x.py", "before": "inode 3", "now": "inode 4"},
    ],
}


async def test_a_replaced_program_is_written_down_before_it_is_asked_for_again() -> None:
    """The second START says what was written down; the job is one and the same."""
    told: list[str] = []
    answers: list[StartedJob | StartRefused] = []
    async with connected() as (backend, supervisor):

        async def start() -> None:
            answers.append(
                await backend.start(
                    JOB,
                    JobSpec("sleep"),
                    "alice",
                    on_replaced=lambda files: told.extend(each.now for each in files),
                )
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            first = supervisor.heard()
            assert first["audited"] == []
            assert told == []
            supervisor.say("REPLACED", **REPLACED)
            await trio.testing.wait_all_tasks_blocked()
            assert told == ["inode 2", "inode 4"]
            assert supervisor.heard() == first | {"audited": told}
            supervisor.say("STARTED", [pipe_end()], **STARTED, fds=["stdout"])
        (answer,) = answers
        assert isinstance(answer, StartedJob)
        os.close(answer.pipes.stdout_fd)


@pytest.mark.parametrize("fails", [True, False])
async def test_a_replaced_program_does_not_run_without_its_line(fails: bool) -> None:
    """No line, no start; nor does it run if its file is another one each time."""
    answers: list[StartedJob | StartRefused] = []

    def write(files: Sequence[ReplacedFile]) -> None:
        if fails:
            raise OSError(28, "No space left on device")

    async with connected() as (backend, supervisor):

        async def start() -> None:
            answers.append(await backend.start(JOB, JobSpec("sleep"), "alice", on_replaced=write))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            for _ in range(1 if fails else 3):
                await trio.testing.wait_all_tasks_blocked()
                assert supervisor.heard()["type"] == "START"
                supervisor.say("REPLACED", **REPLACED)
        (answer,) = answers
        assert isinstance(answer, StartRefused)
        assert answer.fault == ("lost" if fails else protocol.EXECUTABLE)
        with pytest.raises(BlockingIOError):
            supervisor.heard()


async def test_a_command_line_that_fits_no_message_is_the_callers_fault() -> None:
    """The supervisor never hears of it, and the job is nobody's."""
    async with connected() as (backend, supervisor):
        spec = JobSpec("sleep", ("x" * protocol.MAX_MESSAGE_BYTES,))
        answer = await backend.start(JOB, spec, "alice")
        assert isinstance(answer, StartRefused)
        assert answer.fault == protocol.INVALID
        with pytest.raises(BlockingIOError):
            supervisor.heard()


async def test_nobody_that_does_not_say_welcome_is_a_supervisor() -> None:
    """What it has sent along is closed; the leak check sees that."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with trio.socket.from_stdlib_socket(ours) as sock, theirs:
        Supervisor(theirs).say("HELD", [pipe_end()], **held(JOB, ["stdout"]))
        with pytest.raises(Unavailable, match="did not welcome"):
            await LocalBackend(sock).greet()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with trio.socket.from_stdlib_socket(ours) as sock, theirs:
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(Unavailable, match="did not welcome"):
            await LocalBackend(sock).greet()
    for changed, text in (({"version": True}, "version has not its form"), ({"version": 2}, "2")):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with trio.socket.from_stdlib_socket(ours) as sock, theirs:
            about = WELCOME | changed | {"fds": ["policy"]}
            Supervisor(theirs).say("WELCOME", [os.memfd_create("policy")], **about)
            with pytest.raises(Unavailable, match=text):
                await LocalBackend(sock).greet()


async def started_with_kill(
    backend: LocalBackend, supervisor: Supervisor, kill_fd: int
) -> StartedJob:
    """As ``started``, with a descriptor of the group's cgroup.kill."""
    answers: list[StartedJob | StartRefused] = []

    async def start() -> None:
        answers.append(await backend.start(JOB, JobSpec("sleep"), "alice"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        await trio.testing.wait_all_tasks_blocked()
        pipe_read, pipe_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.close(pipe_write)
        fds = [pipe_read, os.dup(kill_fd)]
        supervisor.say("STARTED", fds, **STARTED, fds=["stdout", "kill"])
    (answer,) = answers
    assert isinstance(answer, StartedJob)
    return answer


@pytest.mark.mock_clock
async def test_a_silent_supervisor_is_said_within_ten_seconds() -> None:
    """C26: each caller hears of it; what was asked is on its way, and its answer is nobody's."""
    async with connected(beats=True) as (backend, supervisor):
        os.close((await started(backend, supervisor)).pipes.stdout_fd)
        supervisor.say("BEAT")
        began = trio.current_time()
        asks: list[Callable[[], Awaitable[object]]] = [
            partial(backend.signal, JOB, 1),
            partial(backend.set_paused, JOB, True),
            partial(backend.inspect, JOB),
        ]

        async def refused(ask: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(SupervisorSilent):
                await ask()
            assert trio.current_time() - began <= 10.0

        async with trio.open_nursery() as nursery:
            for ask in asks:
                nursery.start_soon(refused, ask)
        await trio.sleep(4.0)
        assert backend.is_silent()
        supervisor.say("BEAT")
        await trio.testing.wait_all_tasks_blocked()
        assert not backend.is_silent()
        counts: list[int] = []

        async def signal_again() -> None:
            counts.append(await backend.signal(JOB, 1))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(signal_again)
            await trio.testing.wait_all_tasks_blocked()
            supervisor.say("SIGNALED", id=JOB, count=5)  # of the first one
            supervisor.say("SIGNALED", id=JOB, count=7)
        assert counts == [7]


@pytest.mark.mock_clock
async def test_who_answers_slowly_but_beats_is_waited_for() -> None:
    """C26: a START may take 10 s, and says then what hangs."""
    async with connected(beats=True) as (backend, supervisor):
        answered = trio.Event()
        async with trio.open_nursery() as nursery:

            async def beat() -> None:
                for _ in range(10):
                    supervisor.say("BEAT")
                    await trio.sleep(2.0)
                answered.set()

            nursery.start_soon(beat)
            assert await backend.answered(answered.wait)


@pytest.mark.mock_clock
async def test_kill_does_not_wait_for_a_silent_supervisor() -> None:
    """C26: after a second it is done by the descriptor that came with STARTED."""
    kill_read, kill_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    async with connected(beats=True) as (backend, supervisor):
        job = await started_with_kill(backend, supervisor, kill_write)
        os.close(job.pipes.stdout_fd)
        began = trio.current_time()
        assert await backend.kill(JOB) == 0
        assert trio.current_time() - began == 1.0
        assert os.read(kill_read, 10) == b"1"
    os.close(kill_read)
    os.close(kill_write)


@pytest.mark.mock_clock
async def test_a_supervisor_that_stays_silent_is_given_up() -> None:
    """C14b: after a minute its jobs are killed from here, and lost."""
    kill_read, kill_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    async with connected(beats=True) as (backend, supervisor):
        job = await started_with_kill(backend, supervisor, kill_write)
        os.close(job.pipes.stdout_fd)
        supervisor.say("BEAT")
        began = trio.current_time()
        verdict = await backend.wait(JOB)
        assert (verdict.kind, verdict.detail) == ("lost", "the supervisor does not answer")
        assert 60.0 <= trio.current_time() - began <= 64.0
        assert os.read(kill_read, 10) == b"1"
        await backend.wait_closed()
        assert backend.lost == "the supervisor does not answer"
    os.close(kill_read)
    os.close(kill_write)


@pytest.mark.mock_clock
async def test_a_server_that_stood_still_gives_nobody_up() -> None:
    """C14b, C53: a machine that was suspended, a debugger: what was not heard does not count."""
    async with connected(beats=True) as (backend, supervisor):
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.autojump_threshold = math.inf
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(100.0)
        await trio.testing.wait_all_tasks_blocked()
        assert backend.lost == ""
        assert not backend.is_silent()
        supervisor.say("BEAT")
