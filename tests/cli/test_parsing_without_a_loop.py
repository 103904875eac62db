"""A command line is parsed before there is an event loop, also what is wrong with it."""

import types
from collections.abc import Generator

import pytest
from fake_service import HANDLE, FakeService, fake_server

from penstock.cli.root import _at_once


async def test_a_mistake_that_the_verb_finds_shows_its_usage() -> None:
    """As one that the parser finds; the job was not asked for."""
    service = FakeService()
    async with fake_server(service) as server:
        done = await server.run_cli("stream", "--tail", "1", "--offset", "0", HANDLE)
    assert done.code == 2
    assert done.err.startswith(b"Usage: penstock stream [OPTIONS] PID\n")
    assert b"--offset and --tail exclude each other" in done.err
    assert service.streams == []


@types.coroutine
def given_away() -> Generator[None, None, None]:
    """Control, once, as every wait does."""
    yield


def test_parsing_cannot_wait() -> None:
    """A callback that does is found out by the first use, in any test of its option."""

    async def waits() -> None:
        await given_away()

    with pytest.raises(RuntimeError, match="a callback of the command line has waited"):
        _at_once(waits())
