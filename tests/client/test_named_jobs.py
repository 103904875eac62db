"""Names, labels and filters as the client sends them, and a list over its pages."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fake_service import FakeService, fake_server

from penstock.client import Client, Endpoint, connect, pages, start_job
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

LABELS = {"team": "core", "tier": "front"}


@asynccontextmanager
async def asking(service: FakeService) -> AsyncIterator[tuple[Client, Endpoint]]:
    async with fake_server(service) as server:
        pair = server.pki.clients["alice"]
        endpoint = Endpoint("127.0.0.1", server.port, server.pki.ca, pair.certificate, pair.key)
        async with connect(endpoint) as client:
            yield client, endpoint


async def test_a_start_has_the_name_and_the_labels() -> None:
    """Also a repeated one; and neither where none is given."""
    service = FakeService()
    async with asking(service) as (client, endpoint):
        await client.start("ls", name="web", labels=LABELS)
        await start_job(endpoint, "ls", name="web", labels=LABELS)
        await client.start("ls")
    found = [(start.name, dict(start.labels)) for start in service.starts]
    assert found == [("web", LABELS), ("web", LABELS), ("", {})]


async def test_a_list_has_all_its_filters_on_each_page() -> None:
    """And ends with the last page."""
    service = FakeService()
    about = pb.Job(command="ls", name="web", labels=LABELS | {"key": ""}, started_ns=7)
    about.state = pb.JOB_STATE_RUNNING
    service.jobs = [pb.Job(handle=f"4{at}") for at in range(2500)]
    for job in service.jobs:
        job.MergeFrom(about)
    async with asking(service) as (client, _):
        jobs = await client.jobs(
            states=[pb.JOB_STATE_RUNNING],
            command="ls",
            name="web",
            labels=LABELS,
            label_keys=["key"],
            since_ns=7,
            prefix="4",
        )
        assert jobs == service.jobs
        assert await client.jobs(include_finished=True) == service.jobs
    filtered, plain = service.lists[:3], service.lists[3:]
    assert [request.page_token for request in filtered] == ["", "1000", "2000"]
    for request in filtered:
        assert list(request.states) == [pb.JOB_STATE_RUNNING]
        assert (request.command, request.name, request.prefix) == ("ls", "web", "4")
        assert (dict(request.labels), list(request.label_keys)) == (LABELS, ["key"])
        assert (request.since_ns, request.all) == (7, False)
    tokens = ("", "1000", "2000")
    assert plain == [pb.ListRequest(all=True, page_size=1000, page_token=at) for at in tokens]


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(0, []), (1, [1]), (1000, [1000]), (1001, [1000, 1]), (2500, [1000] * 2 + [500])],
)
async def test_no_more_are_asked_for_than_are_wanted(most: int, sizes: list[int]) -> None:
    """The first ones, and no page behind them."""
    service = FakeService()
    service.jobs = [pb.Job(handle=str(at)) for at in range(2500)]
    async with asking(service) as (client, _):
        assert await client.jobs(most=most) == service.jobs[:most]
        assert await client.jobs(most=9999) == service.jobs
    assert [request.page_size for request in service.lists[:-3]] == sizes


class Endless(FakeService):
    """Whose lists have always one page more: of so many entries, with the token of a function."""

    def __init__(self, entries: int, token: Callable[[int], str]) -> None:
        super().__init__()
        self.entries = entries
        self.token = token
        self.asked = 0

    async def List(self, input_message: pb.ListRequest, request: Any) -> pb.ListResponse:  # noqa: N802
        self.asked += 1
        jobs = [pb.Job(handle="7")] * self.entries
        return pb.ListResponse(jobs=jobs, next_page_token=self.token(self.asked))

    async def WhoAmI(self, input_message: pb.WhoAmIRequest, request: Any) -> pb.WhoAmIResponse:  # noqa: N802
        self.asked += 1
        commands = [pb.GrantedCommand(name="ls")] * self.entries
        return pb.WhoAmIResponse(commands=commands, next_page_token=self.token(self.asked))


@pytest.mark.parametrize(
    ("entries", "token", "text", "asked"),
    [
        (1, lambda number: "same", "names the same next page again", 2),
        (0, str, "goes on after 100 pages without an entry", 100),
        (1000, str, "goes on beyond 9000 entries or 1024 MiB", 10),
    ],
)
async def test_a_list_without_end_is_refused(
    entries: int, token: Any, text: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of jobs and of commands alike."""
    assert pages.MOST_ENTRIES == 1_000_000
    monkeypatch.setattr(pages, "MOST_ENTRIES", 9000)
    service = Endless(entries, token)
    async with asking(service) as (client, _):
        for call, what in ((client.jobs, "jobs"), (client.who_am_i, "commands")):
            service.asked = 0
            with pytest.raises(RpcError, match=f"the server's list of {what} {text}") as caught:
                await call()
            assert (caught.value.code, service.asked) == (StatusCode.INTERNAL, asked)


def test_large_pages_are_bounded_too() -> None:
    """By their bytes, because a page may be megabytes."""
    page = pb.ListResponse(jobs=[pb.Job(handle="7" * 2**20)], next_page_token="1")
    found = pages.Pages("jobs")
    for number in range(1023):
        page.next_page_token = str(number)
        assert found.next(page, 1) == str(number)
    with pytest.raises(RpcError, match="beyond 1000000 entries or 1024 MiB"):
        found.next(page, 1)
