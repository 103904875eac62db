"""Names, labels and filters as the client sends them, and a list over its pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fake_service import FakeService, fake_server

from penstock.client import Client, Endpoint, connect, start_job
from penstock.proto import command_pb2 as pb

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
