"""What comes while a line is typed: whole harmless lines, bounded, each output by itself."""

import math

import pytest
import trio
import trio.testing

from penstock.cli.descriptors import OutputFailed
from penstock.cli.shell.above_prompt import (
    BATCH_BYTES,
    WAITING_BYTES,
    AbovePrompt,
    BesideOutput,
)


class Terminal:
    """Collects what is shown; stands still until it may go on."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.moves = trio.Event()
        self.moves.set()
        self.failure: OutputFailed | None = None

    async def show(self, data: bytes) -> None:
        await self.moves.wait()
        if self.failure is not None:
            raise self.failure
        self.batches.append(data)

    @property
    def shown(self) -> bytes:
        return b"".join(self.batches)


def above_on(terminal: Terminal) -> AbovePrompt:
    return AbovePrompt(terminal.show, lambda: 80)


@pytest.mark.mock_clock
async def test_lines_have_their_front_and_are_harmless() -> None:
    """A cut one is held until its end; what a carriage return draws over is not shown."""
    terminal = Terminal()
    above = above_on(terminal)
    one, other = above.output(lambda: "1: "), above.output(lambda: "2: ")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(above.run)
        one.send(b"whole\ncut")
        other.text.write("\x1b[2Jx\n")
        other.send(b"10%\r20%\r\n")
        above.notice("told")
        await other.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert terminal.shown == b"1: whole\n2: \\x1b[2Jx\n2: 20%\ntold\n"
        one.end_line()
        await one.flush()
        assert terminal.shown.endswith(b"1: cut\n")
        one.send("é".encode()[:1])
        one.send("é".encode()[1:] + b"\n\xc3")
        one.end_line()
        await one.flush()
        assert terminal.shown.endswith("1: é\n1: \ufffd\n".encode())
        one.send(b"x" * 10_000)  # that has no end is one all the same
        await one.flush()
        assert terminal.shown.count(b"1: xxx") == 2
        nursery.cancel_scope.cancel()


@pytest.mark.mock_clock
async def test_an_output_that_is_not_shown_waits_alone() -> None:
    """Its bound is its own: others, and the shell's messages, pass it by."""
    terminal = Terminal()
    above = above_on(terminal)
    fast, slow = above.output(lambda: ""), above.output(lambda: "slow ")
    line = b"x" * 1023 + b"\n"
    written = 0

    async def write_on() -> None:
        nonlocal written
        while True:
            await fast.write(line)
            written += len(line)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(above.run)
        terminal.moves = trio.Event()
        nursery.start_soon(write_on)
        await trio.testing.wait_all_tasks_blocked()
        assert WAITING_BYTES <= written <= WAITING_BYTES + len(line)
        await slow.write(b"line\n")
        terminal.moves.set()
        await slow.flush()
        # In turns: not behind all of the other's.
        assert sum(map(len, terminal.batches)) <= 3 * BATCH_BYTES
        assert all(len(batch) <= BATCH_BYTES + len(line) for batch in terminal.batches)
        await trio.sleep(1)
        assert written > 4 * WAITING_BYTES
        nursery.cancel_scope.cancel()


@pytest.mark.mock_clock
async def test_nothing_is_shown_while_a_verb_has_the_terminal() -> None:
    """It comes afterwards."""
    terminal = Terminal()
    above = above_on(terminal)
    output = above.output(lambda: "")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(above.run)
        above.hold()
        output.send(b"line\n")
        await trio.sleep(10)
        assert terminal.batches == []
        above.release()
        await output.flush()
        assert terminal.batches == [b"line\n"]
        nursery.cancel_scope.cancel()


async def test_a_thread_may_send() -> None:
    """As a verb does that runs apart."""
    terminal = Terminal()
    above = above_on(terminal)
    output = above.output(lambda: "")
    await trio.to_thread.run_sync(output.send, b"from a thread\n")
    await above.show_rest()
    assert terminal.shown == b"from a thread\n"


@pytest.mark.mock_clock
async def test_a_terminal_that_is_gone_ends_what_waits_for_it() -> None:
    """Each of the outputs says so from then on, and text is dropped without an error."""
    terminal = Terminal()
    above = above_on(terminal)
    output = above.output(lambda: "")
    output.send(b"line\n")
    failure = terminal.failure = OutputFailed("terminal", OSError(5, "gone"), terminal=True)
    with pytest.raises(OutputFailed):
        await above.show_rest()
    await output.flush()
    with pytest.raises(OutputFailed) as caught:
        await output.write(b"more\n")
    assert caught.value is failure
    output.text.write("dropped\n")
    assert isinstance(output, BesideOutput)
    assert output.waiting == 0
    assert math.isfinite(output.columns)
