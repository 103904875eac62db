"""A job that prints faster than a terminal shows: keys are answered, and other outputs come."""

import time

import pytest
from fake_service import FakeService, chunk, fake_server, finished
from patience import slowness
from penstock_shell import ShellOnTerminal, penstock_shell

MB = 1000 * 1000
PIECE = 40_000
LINE = b"0123456789 " * 9 + b"\n"
PRINTED = LINE * (PIECE // len(LINE))


def a_flood(size: int) -> FakeService:
    """Of a job that has printed so much."""
    service = FakeService()
    offsets = range(0, size, len(PRINTED))
    service.messages = [*(chunk(PRINTED, offset=each) for each in offsets), finished()]
    return service


class Tally:
    """How often something was written, ever."""

    def __init__(self, shell: ShellOnTerminal, text: bytes) -> None:
        self._out = shell.output.out
        self._text = text
        self._from = 0
        self._count = 0

    @property
    def count(self) -> int:
        end = len(self._out)
        found = bytes(self._out[self._from : end])
        self._count += found.count(self._text)
        # A cut one is counted with what follows.
        self._from = max(self._from, end - len(self._text) + 1)
        return self._count


async def drawn(shell: ShellOnTerminal, key: str, line: str) -> float:
    """Seconds until the prompt shows this line, for the key that is pressed to make it so."""
    begin, at = time.monotonic(), len(shell.output.out)
    shell.type(key)
    # Drawn anew below what has come, or the key alone behind the cursor.
    wanted = (f"> {line}\x1b".encode(), f"\x1b[0m{key}\x1b".encode(), f"l{key}\x1b".encode())
    while not any(each in bytes(shell.output.out[at:]) for each in wanted):
        await shell.output.grown.wait()
    return time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_a_flood_leaves_the_keyboard_alive() -> None:
    """100 MB beside: each key is drawn soon, and all of the output comes."""
    async with (
        fake_server(a_flood(100 * MB)) as server,
        penstock_shell(server.environment()) as shell,
    ):
        await shell.wait_bar("connected")
        lines = Tally(shell, b"48213: 0123")
        all_of_them = len(PRINTED) // len(LINE) * (len(server.service.messages) - 1)
        begin = time.monotonic()
        shell.type("stream -q --no-timestamps 48213 &\r")
        while not lines.count:
            await shell.output.grown.wait()
        waits = []
        typed = ""
        for key in (*"stop", " 1"):
            typed += key
            waits.append(await drawn(shell, key, typed))
        shell.type("\r")
        await server.service.stop_arrived.wait()
        assert lines.count < all_of_them  # it still comes
        while lines.count < all_of_them:
            await shell.output.grown.wait()
        took = time.monotonic() - begin
        print(f"100 MB in {took:.1f} s; keys: {max(waits) * 1000:.0f} ms at most")
        assert max(waits) < 0.5 * slowness()


async def test_two_floods_share_the_terminal() -> None:
    """Neither waits for the end of the other."""
    async with (
        fake_server(a_flood(2 * MB)) as server,
        penstock_shell(server.environment()) as shell,
    ):
        await shell.wait_bar("connected")
        fronts = [b"48213: 0", b"48214: 0"]
        tallies = [Tally(shell, front) for front in fronts]
        for handle in ("48213", "48214"):
            shell.type(f"stream -q --no-timestamps {handle} &\r")
        wanted = len(PRINTED) // len(LINE) * (len(server.service.messages) - 1)
        while not all(tally.count >= wanted for tally in tallies):
            await shell.output.grown.wait()
        text = bytes(shell.output.out)
        assert text.find(fronts[0]) < text.rfind(fronts[1])
        assert text.find(fronts[1]) < text.rfind(fronts[0])
