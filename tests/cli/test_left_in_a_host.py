"""What command lines leave in the process that has run them: nothing."""

import gc
import signal
import threading
import warnings

import asyncclick._compat
import pytest
import trio
from fake_service import fake_server
from hosted_lines import hosted_line, printing_service, run_hosted
from leaks import Descriptors

import penstock.cli.version
from penstock.cli.invoking import hosted_line as line_for_a_host


def kept_streams() -> int:
    """How many streams asyncclick remembers to print on."""
    (cache,) = (
        cell.cell_contents
        for cell in asyncclick._compat._default_text_stdout.__closure__
        if hasattr(cell.cell_contents, "keyrefs")
    )
    return len(cache)


async def test_help_leaves_nothing_behind() -> None:
    """asyncclick remembers streams that it has written to, but none of a line that has ended, nor
    of one that was only looked at."""
    before = kept_streams()
    async with fake_server() as server:
        words = ["start", "--help"]
        for _ in range(3):
            async with hosted_line(words, server.environment()) as line:
                assert line_for_a_host(words, line.invocation) is None
            assert line.code == 0
    assert kept_streams() <= before


async def test_a_verb_that_is_left_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a thread loads it: Python has nothing to warn of on the host's standard error."""
    loading, loaded, over = threading.Event(), threading.Event(), threading.Event()

    async def waits() -> None:
        await trio.sleep_forever()

    def loads(*_: object) -> object:
        loading.set()
        loaded.wait()
        over.set()
        return waits()

    monkeypatch.setattr(penstock.cli.version, "version", loads)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with fake_server() as server:
            async with hosted_line(["version"], server.environment()) as line:
                await trio.to_thread.run_sync(loading.wait)
                line.invocation.signal(signal.SIGINT)
            assert line.code == 128 + signal.SIGINT
            loaded.set()
            await trio.to_thread.run_sync(over.wait)
            await trio.sleep(0.1)  # for the thread, which has a few steps to go
        gc.collect()
    assert [str(each.message) for each in warned if "awaited" in str(each.message)] == []


async def test_many_lines_leave_no_descriptor_and_no_object() -> None:
    """Of each kind: ended, refused, mistyped, cancelled, and ended by a signal."""
    kinds = ("status 5", "stream 5", "run ls", "send 5", "nonsense", "--cert none list")

    async def all_kinds() -> None:
        for number, words in enumerate(kinds * 3):
            async with hosted_line(words.split(), environment) as line:
                for _ in range(number):
                    await trio.lowlevel.checkpoint()
                if number > len(kinds) * 2:
                    line.scope.cancel()
                elif number > len(kinds):
                    line.invocation.signal(signal.SIGINT)
            await run_hosted(words.split(), environment)

    async with fake_server(printing_service()) as server:
        environment = server.environment()
        for _ in range(2):  # until every cache has what it keeps
            await all_kinds()
        gc.collect()
        descriptors, objects = Descriptors(), len(gc.get_objects())
        for _ in range(5):
            await all_kinds()
        await trio.sleep(0.1)  # for threads that have a few steps to go
        gc.collect()
        assert descriptors.opened_since() == {}
        # A leaked line would be some hundred objects, 180 times.
        assert len(gc.get_objects()) - objects < 2000
