"""Which job a word stands for: a handle is never mistaken, a name is looked up."""

from collections.abc import Iterable

import pytest
from fake_service import FakeService, fake_server

from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

RUNNING, FINISHED = pb.JOB_STATE_RUNNING, pb.JOB_STATE_FINISHED


class Jobs(FakeService):
    """Knows the jobs of a test, by their handles alone; newest first."""

    def __init__(self, jobs: Iterable[tuple[str, str, pb.JobState]]) -> None:
        super().__init__()
        self.jobs = [pb.Job(handle=h, name=name, state=state) for h, name, state in jobs]
        for job in self.jobs:
            text = f"Job {job.handle} is there."
            self.statuses[job.handle] = pb.StatusResponse(status=text, job=job)
            self.removals[job.handle] = None


JOBS = [
    ("48300", "web-2", RUNNING),
    ("48213", "backup", RUNNING),
    ("48100.2", "", RUNNING),
    ("777", "backup", FINISHED),
    ("776", "old", FINISHED),
    ("775", "old", FINISHED),
    ("55512", "web-1", FINISHED),
    ("55511", "", FINISHED),
]


@pytest.mark.parametrize(
    ("word", "handle", "lists"),
    [
        ("48213", "48213", 0),  # itself, without another call
        ("48100.2", "48100.2", 0),
        ("backup", "48213", 1),  # the unfinished one
        ("old", "776", 2),  # the newest finished one
        ("back", "48213", 3),
        ("web-2", "48300", 1),
        ("web-1", "55512", 2),
        ("4821", "48213", 1),
        ("48100.", "48100.2", 0),
    ],
)
async def test_what_a_word_stands_for_where_it_is_read(word: str, handle: str, lists: int) -> None:
    """``status``: names, and beginnings that are of one job alone."""
    async with fake_server(Jobs(JOBS)) as server:
        done = await server.run_cli("status", word)
        if handle == "48100.2" and word != handle:
            assert done.code == 4  # the beginning of a handle are its digits
            return
        assert done.out.decode().splitlines()[1:] == [f"Job {handle} is there."]
        stands_for = f"{word} stands for job {handle}\n" if word == "4821" else ""
        assert (done.code, done.err.decode()) == (0, stands_for)
        assert len(server.service.lists) == lists


@pytest.mark.parametrize(
    ("word", "code", "text"),
    [
        ("web", 2, "web is the beginning of several jobs' names: web-1, web-2"),
        ("nothing", 4, "Job nothing not found"),
        ("99", 4, "Job 99 not found"),
        ("5551", 4, "Job 5551 not found; did you mean 55512, 55511?"),
        ("48100", 4, "Job 48100 not found; did you mean 48100.2?"),  # another job of the same pid
        ("48", 4, "Job 48 not found"),  # too little to mean anything
        ("no name", 4, "Job no name not found"),
    ],
)
async def test_what_a_word_does_not_stand_for(word: str, code: int, text: str) -> None:
    """Said as of an unknown handle, with what may have been meant."""
    async with fake_server(Jobs(JOBS)) as server:
        done = await server.run_cli("status", word)
    assert (done.code, done.err.decode()) == (code, f"Error: {text}\n")


@pytest.mark.parametrize("verb", ["stop", "rm", "signal", "pause", "send"])
async def test_the_beginning_of_a_handle_changes_nothing(verb: str) -> None:
    """The one that was meant may be gone: no other job is hit."""
    service = Jobs(JOBS)
    service.stop_error = RpcError(StatusCode.NOT_FOUND, "Job 4821 not found")
    service.control_error = service.stop_error
    service.send_errors = [service.stop_error]
    async with fake_server(service) as server:
        done = await server.run_cli(verb, "4821", *(["HUP"] if verb == "signal" else []))
    assert done.code == 4
    assert done.err.decode().endswith("Job 4821 not found; did you mean 48213?\n")
    asked = {each.pid for each in (*service.stops, *service.controls, *service.sends)}
    assert asked == (set() if verb == "rm" else {"4821"})


@pytest.mark.parametrize(
    "verb", ["stop", "rm", "signal", "kill", "pause", "resume", "send", "attach"]
)
async def test_the_beginning_of_a_name_changes_nothing(verb: str) -> None:
    """Job ``back`` may have been removed: no other job is hit."""
    async with fake_server(Jobs(JOBS)) as server:
        done = await server.run_cli(verb, "back", *(["HUP"] if verb == "signal" else []))
    assert done.code == (127 if verb == "attach" else 4)
    assert done.err.decode().endswith("Job back not found; did you mean backup?\n")
    service = server.service
    assert [*service.stops, *service.controls, *service.sends, *service.streams] == []


async def test_a_beginning_of_more_names_than_are_looked_at_is_none() -> None:
    """Because another name may be among the rest."""
    many = [(str(10000 + at), "nightly", FINISHED) for at in range(1000)]
    async with fake_server(Jobs(many)) as server:
        assert (await server.run_cli("status", "night")).code == 0
    async with fake_server(Jobs([*many, ("7", "nightshift", FINISHED)])) as server:
        done = await server.run_cli("status", "nights")
        assert done.out.decode().splitlines()[1:] == ["Job 7 is there."]
        done = await server.run_cli("status", "night")
    assert (done.code, b"several jobs' names: nightly, nightshift\n" in done.err) == (2, True)
    async with fake_server(Jobs([*many, ("8", "nightly", FINISHED)])) as server:
        done = await server.run_cli("status", "night")
    text = "Error: night begins the names of more than 1000 jobs; write the whole name\n"
    assert (done.code, done.err.decode()) == (2, text)


async def test_a_name_may_be_changed() -> None:
    """It is said once which job that is."""
    word = "backup"
    async with fake_server(Jobs(JOBS)) as server:
        done = await server.run_cli("stop", word)
        assert done.out.decode() == f"Stopping {word}...\nJob 48213 successfully stopped!\n"
        done = await server.run_cli("signal", word, "HUP")
        assert done.out.decode() == f"Sent HUP to 1 process of job {word}.\n"
        done = await server.run_cli("rm", word)
        assert done.out.decode() == "Removed job 48213.\n"
        assert {each.pid for each in (*server.service.stops, *server.service.controls)} == {"48213"}


async def test_following_by_a_name() -> None:
    """``stream`` and ``wait`` too; a name that is unknown has their own exit statuses."""
    async with fake_server(Jobs(JOBS)) as server:
        done = await server.run_cli("stream", "--no-follow", "backup")
        assert done.code == 0, done.err
        assert server.service.streams[0].pid == "48213"
        assert (await server.run_cli("wait", "backup")).code == 0
        done = await server.run_cli("wait", "nothing")
        assert (done.code, done.err) == (127, b"Error: Job nothing not found\n")
        done = await server.run_cli("wait", "web")
        assert done.code == 125
        done = await server.run_cli("stream", "nothing")
        assert (done.code, done.err) == (4, b"Error: Job nothing not found\nExit 4\n")
