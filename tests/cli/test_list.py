"""list: what is asked of the server, and in how many pages."""

import json

import asyncclick as click
import pytest
from fake_service import FakeServer, FakeService, fake_server

from penstock.cli.verbs import VERBS
from penstock.proto import command_pb2 as pb

RUNNING, FINISHED = pb.JOB_STATE_RUNNING, pb.JOB_STATE_FINISHED
SINCE_NS = 1_795_432_898_123_456_789
SINCE = "2026-11-23T11:21:38.123456789Z"


async def handles(server: FakeServer, *words: str) -> list[str]:
    """What is listed, in order."""
    done = await server.run_cli("list", "-q", *words)
    assert (done.code, done.err) == (0, b"")
    return done.out.decode().split()


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], pb.ListRequest()),
        (["-a"], pb.ListRequest(all=True)),
        (
            ["--state", "running", "--state", "finished"],
            pb.ListRequest(states=[RUNNING, FINISHED]),
        ),
        (["--command", "ls", "--name", "web"], pb.ListRequest(command="ls", name="web")),
        (
            ["--label", "a=1", "--label", "b", "--label", "c="],
            pb.ListRequest(labels={"a": "1", "c": ""}, label_keys=["b"]),
        ),
        (["--since", SINCE], pb.ListRequest(since_ns=SINCE_NS)),
        (
            ["-f", "status=exited", "-f", "name=web", "--filter", "label=a=1", "-f", "label=b"],
            pb.ListRequest(states=[FINISHED], name="web", labels={"a": "1"}, label_keys=["b"]),
        ),
        (
            ["-f", f"since={SINCE}", "--since", "1970-01-01T00:00:01Z", "-f", "command=ls"],
            pb.ListRequest(command="ls", since_ns=SINCE_NS),
        ),
    ],
)
async def test_what_is_asked_for(words: list[str], asked: pb.ListRequest) -> None:
    """Each option is a field; docker's --filter is another form of them."""
    async with fake_server() as server:
        await handles(server, *words)
    (request,) = server.service.lists
    request.page_size = 0
    assert request == asked


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--state", "gone"], "'gone' is not one of"),
        (["-f", "status=gone"], "'gone' is not one of"),
        (["--label", "=x"], "has no key"),
        (["-f", "x"], "is no filter; write KEY=VALUE"),
        (["-f", "colour=red"], "there are: state, command, name, label, since"),
        (["-f", "since=x"], "is no time"),
        (["-n", "0"], "x>=1"),
    ],
)
async def test_usage(words: list[str], text: str) -> None:
    """Before the server is asked."""
    with pytest.raises(click.UsageError) as caught:
        await VERBS["list"].make_context("list", words)
    assert text in caught.value.format_message()


async def test_two_values_that_no_job_can_have() -> None:
    """The list would be empty, and the user could only wonder."""
    async with fake_server() as server:
        for words in (
            ["--name", "a", "-f", "name=b"],
            ["-f", "command=a", "-f", "command=b"],
            ["--label", "a=1", "-f", "label=a=2"],
        ):
            done = await server.run_cli("list", *words)
            assert done.code == 2
            assert b"no job is both" in done.err
        assert server.service.lists == []


async def test_as_many_as_are_asked_for() -> None:
    """In pages; none is fetched beyond the last that is wanted."""
    service = FakeService()
    service.jobs = [pb.Job(handle=str(number)) for number in range(2500)]
    async with fake_server(service) as server:
        assert await handles(server, "-n", "1200") == [str(number) for number in range(1200)]
        assert [each.page_size for each in service.lists] == [1000, 200]
        assert len(await handles(server)) == 2500
        assert len(service.lists) == 2 + 3


async def test_names_have_a_column_and_labels_are_in_json() -> None:
    """A dash where there is none."""
    service = FakeService()
    service.jobs = [
        pb.Job(handle="2", name="web-1", labels={"team": "db"}, command="serve", state=RUNNING),
        pb.Job(handle="1", command="serve", state=RUNNING),
    ]
    async with fake_server(service) as server:
        done = await server.run_cli("list")
        _, named, other = done.out.decode().splitlines()
        assert (named.split()[:2], other.split()[:2]) == (["2", "web-1"], ["1", "-"])
        done = await server.run_cli("-o", "json", "list", "-q")
    first, _ = map(json.loads, done.out.splitlines())
    assert (first["name"], first["labels"]) == ("web-1", {"team": "db"})
