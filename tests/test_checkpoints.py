"""Every public async function has a checkpoint on each way, or says where it has none."""

import ast
import functools
import re
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.abc
from checkpoints import Function, Paths, is_abstract
from fake_backend import FakeBackend
from marks import SOURCE, modules
from walked import SLEEP, managed

from penstock.jobs.backends.base import JobSpec
from penstock.jobs.job_errors import Precondition

# Awaits of public functions that say "no checkpoint", as the source spells them. Private ones are
# found by themselves.
QUIET = {
    *("checkpoint_if_cancelled", "cancel_shielded_checkpoint"),
    *("self._stream.send", "self._stream.receive", "stream.send", "stream.receive"),
    *("call.send", "self.wait_ready", "reader.wait_ready", "pace.wait", "runner.free_reserve"),
    *("self._transport.send", "self._transport.receive", "transport.receive", "transport.send"),
    *("begin_of_lines", "seek_lines", "unfinished_characters"),
}


# What one function's source does not show.
SHOWN_OTHERWISE = {
    "jobs/backends/start_exchange.py: StartExchange.start": (
        "its loop runs once at least, and each time asks"
    ),
    "rpc/tls/transport.py: TlsTransport.handshake": "it asks for its turn before anything else",
}


@functools.cache
def functions() -> list[tuple[str, str, Function, bool]]:
    """Of each file that runs on Trio: its name, the function's, the function, is it public."""
    return [
        (module.name, name, node, name in module.words)
        for module in modules()
        for name, node in named(ast.parse((SOURCE / module.name).read_text()), ())
    ]


def named(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        inner = names
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = (*names, child.name)
        if isinstance(child, ast.AsyncFunctionDef):
            yield ".".join(inner), child
        yield from named(child, inner)


def quiet_ones() -> set[str]:
    """QUIET, and the private functions that may return without a checkpoint: of each name."""
    found = set(QUIET)
    while True:
        more = {
            node.name
            for _, _, node, _ in functions()
            if re.match(r"_(?!_)", node.name) and not Paths(found).always_checkpoint(node)
        }
        if more <= found:
            return found
        found |= more


def says_so(function: Function) -> bool:
    text = " ".join((ast.get_docstring(function) or "").split())
    return re.search(r"\bno checkpoint\b", text, re.IGNORECASE) is not None


def test_every_public_async_function_has_a_checkpoint_or_says_where_not() -> None:
    """On each way to its return. A Protocol's are what their implementations are."""
    quiet = quiet_ones()
    wrong = [
        f"{file}: {name}"
        for file, name, node, public in functions()
        if public
        and not is_abstract(node)
        and not Paths(quiet).always_checkpoint(node)
        and not says_so(node)
    ]
    assert set(wrong) == set(SHOWN_OTHERWISE), "add a checkpoint, or say 'no checkpoint' and when"


Act = Callable[[], Awaitable[object]]


class Turns(trio.abc.Instrument):
    """How often Trio's scheduler has had its turn."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def lets_others_run(act: Act) -> bool:
    turns = Turns()
    trio.lowlevel.add_instrument(turns)
    try:
        await act()
    finally:
        trio.lowlevel.remove_instrument(turns)
    return turns.count > 0


async def may_be_cancelled(act: Act) -> bool:
    with trio.CancelScope() as scope:
        scope.cancel()
        await act()
    return scope.cancelled_caught


async def test_those_of_a_job(tmp_path: Path) -> None:
    """What may be called on a job, running and ended: both halves of a checkpoint."""
    backend = FakeBackend()
    async with managed(tmp_path, backend) as manager:
        start = partial(manager.start, "alice", SLEEP, request_id="once")
        assert await lets_others_run(start)
        job = await start()
        running: list[Act] = [
            start,
            job.wait_begun,
            partial(job.signal, 10),
            partial(job.set_paused, True),
            partial(job.set_paused, False),
        ]
        for act in running:
            assert await lets_others_run(act)
            assert await may_be_cancelled(act)
        assert await lets_others_run(partial(job.stop, by="alice"))
        ended: list[Act] = [start, partial(job.stop, by="alice"), job.wait_finished]
        for act in ended:
            assert await lets_others_run(act)
            assert await may_be_cancelled(act)
        with pytest.raises(Precondition):
            await job.signal(10)
        assert await may_be_cancelled(partial(job.signal, 10))


async def test_those_of_a_reader_that_need_not_wait(tmp_path: Path) -> None:
    """As its docstring says: one in eight lets others run, and each may be cancelled."""
    async with managed(tmp_path, FakeBackend()) as manager:
        job = await manager.start("alice", JobSpec("print", ("text",)))
        await job.wait_finished()
        with job.read_output() as reader:
            ran = [await lets_others_run(reader.wait_ready) for _ in range(16)]
            assert ran == ([False] * 7 + [True]) * 2
            assert all([await may_be_cancelled(reader.wait_ready) for _ in range(16)])


def always(text: str) -> bool:
    (function,) = ast.parse(text).body
    assert isinstance(function, ast.AsyncFunctionDef)
    return Paths({"quiet", "one.send"}).always_checkpoint(function)


@pytest.mark.parametrize(
    "body",
    [
        "await f()",
        "return await f()",
        "if a:\n  await f()\n else:\n  return await g()",
        "if a:\n  raise E\n await f()",
        "while True:\n  if a:\n   await f()\n   break",
        "async for x in y:\n  pass",
        "with trio.move_on_after(1):\n  await f()\n  return\n raise E",
        "try:\n  await f()\n except E:\n  raise",
        "try:\n  pass\n finally:\n  await f()",
        "async with trio.open_nursery() as n:\n  n.start_soon(f)",
        "async with other():\n  pass",
        "await other.send(await f())",
        "x = [_ async for _ in y]",
    ],
)
def test_what_always_has_one(body: str) -> None:
    """Each way returns after an await, or does not return."""
    assert always(f"async def f():\n {body}\n")


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        "await quiet()",
        "await self.quiet()",
        "await self.one.send(x)",
        "if a:\n  await f()",
        "while a:\n  await f()",
        "for x in y:\n  await f()",
        "while True:\n  if a:\n   break\n  await f()",
        "if a:\n  return\n await f()",
        "a and await f()",
        "x = await f() if a else 1",
        "try:\n  g()\n  await f()\n except E:\n  pass",
        "async with trio.open_nursery() as n:\n  pass",
        "match a:\n  case 1:\n   await f()",
        "lambda: await_(f)",
    ],
)
def test_what_may_have_none(body: str) -> None:
    """There is a way without one."""
    assert not always(f"async def f():\n {body}\n")
