"""^C, ^\\, ^Z and a terminal that closes, whenever they come: what they leave is the same with and
without an agent."""

import contextlib
import os
import random
import re
import signal
import termios
from pathlib import Path

import pytest
import trio
from agents import AgentPlace, until
from fake_service import HANDLE, FakeService, chunk, fake_server, finished
from patience import patient
from process_counts import Counts
from typed_shell import PROMPT, Shell, shell

from penstock.proto import command_pb2 as pb

INTERRUPT, QUIT, SUSPEND = "\x03", "\x1c", "\x1a"
# What each may end with. A key that comes before the program has begun is the shell's.
ENDS = {
    f"stream -q {HANDLE}": {INTERRUPT: {130}, QUIT: {131}},
    # The job, which the interrupt has ended, exits with 0.
    "run ls": {INTERRUPT: {0, 130}, QUIT: {0, 131}},
    f"attach {HANDLE}": {INTERRUPT: {130}, QUIT: {131}},
    "watch": {INTERRUPT: {130}, QUIT: {131}},
    "list": {INTERRUPT: {0, 130}},
}
SEEDS = [
    *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2)),
    *(pytest.param(seed, marks=pytest.mark.release) for seed in range(2, 8)),
]


def a_service() -> FakeService:
    service = FakeService()
    service.statuses["5"] = pb.StatusResponse(status="Job 5 is running.", job=service.job)
    service.jobs = [service.job]
    service.messages = [chunk(b"hello\n")]
    service.stream_may_end = trio.Event()
    service.at_stop = [finished(0)]
    return service


async def press(typing: Shell, key: str) -> None:
    """Until the prompt is back. Once more where it does not come, as a user does: the shell drops
    what comes while it begins to run the program."""
    begin = len(typing.shown)
    for _ in range(4):
        await typing.type(key)
        with trio.move_on_after(patient(3)):
            await typing.until(PROMPT, begin)
            return
    raise AssertionError(f"{key!r} does not help: {typing.shown[-600:]!r}")


async def status_shown(typing: Shell) -> str:
    """What the shell says of the last line. Once more where the key has made the terminal forget
    the question, too."""
    begin = len(typing.shown)
    for _ in range(4):
        await typing.type("echo '='$?= $(jobs) '|'\r")
        with trio.move_on_after(patient(3)):
            return await typing.until("|\n", begin)
    raise AssertionError(f"the shell does not answer: {typing.shown[begin:]!r}")


async def one_line(typing: Shell, words: str, key: str, chance: random.Random) -> int:
    """Its exit status, after what a user does at some moment of it."""
    begin = len(typing.shown)
    await typing.type(f"echo G'O'; penstock {words}\r")
    # What comes before the shell has read the line makes the terminal forget it.
    await typing.until("GO\n", begin)
    await trio.sleep(chance.choice([0.0, 0.02, 0.1, 0.5]) * chance.random())
    for _ in range(0 if words == "list" else chance.choice([0, 0, 1, 2])):
        await press(typing, SUSPEND)
        begin = len(typing.shown)
        await typing.type("fg\r")
        await typing.until(f"penstock {words}", begin)
        await trio.sleep(chance.choice([0.0, 0.05, 0.2]) * chance.random())
    await press(typing, key)
    found = re.search(r"=(\d+)=([^|]*)\|\n", await status_shown(typing))
    assert found is not None
    assert found[2].strip() == "", "a job of the shell's is left"
    return int(found[1])


@pytest.mark.root
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
async def test_keys_at_any_moment(agent: AgentPlace, seed: int) -> None:
    """The exit status is one that the plain program has, the terminal is as before, the shell has
    no job left, and the agent nothing. Root, because an agent's descriptors are nobody else's to
    see."""
    assert agent.process is not None
    chance = random.Random(seed)
    service = a_service()
    async with fake_server(service) as server:
        assert (await server.run_cli("status", "5")).code == 0
        before = Counts(agent.process.pid)
        for way in ("off", "on"):
            async with shell(agent, server, {"PENSTOCK_AGENT": way}) as typing:
                attributes = termios.tcgetattr(typing.theirs)
                for number in range(8):
                    words = chance.choice(list(ENDS))
                    # At its prompt the shell ignores the other one.
                    key = INTERRUPT if words == "list" else chance.choice([INTERRUPT, QUIT])
                    service.stream_may_end = trio.Event()
                    begin = len(typing.shown)
                    status = await one_line(typing, words, key, chance)
                    shown = typing.shown[begin:]
                    told = f"seed {seed}, {way}, {number}: {words}, {key!r}, {status}: {shown!r}"
                    if "KeyboardInterrupt" in shown and "penstock/" not in shown:
                        continue  # Python itself, which had not begun with any of ours
                    assert status in ENDS[words][key], told
                    assert "Traceback" not in shown, told
                    assert termios.tcgetattr(typing.theirs) == attributes, told
                    await until(agent, lambda state: not state["running"])
        await trio.to_thread.run_sync(before.wait_back)
    assert not agent.log.exists()


async def close_terminal(typing: Shell) -> None:
    """Until no process of it is left.

    The signal comes once more where the shell was about to run the program, because it is lost
    then: the program's group is not in front yet, so the kernel does not tell it.
    """
    leader = typing.output.process.pid
    front = program_of(os.tcgetpgrp(typing.ours))
    begun = front not in ("", program_of(leader))
    os.kill(leader, signal.SIGHUP)
    for _ in range(1 if begun else 4):
        with trio.move_on_after(patient(10 if begun else 2)):
            await typing.output.process.wait()
            # No event reports the end of those that are no children of ours.
            while in_session(leader):  # noqa: ASYNC110
                await trio.sleep(0.02)
            return
        left = in_session(leader)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
    raise AssertionError(f"{front!r} was in front; {left} were left: {typing.shown!r}")


def program_of(pid: int) -> str:
    """The file that the process executes; "" if it has ended."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    return ""


def in_session(leader: int) -> list[int]:
    """The processes of it that have not ended, as /proc tells."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(path.parent.name))
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_terminal_that_closes_at_any_moment(agent: AgentPlace, seed: int) -> None:
    """Every process of it ends, whatever it was at; a job of ``run`` is asked to stop or was never
    started, and no other is."""
    chance = random.Random(seed)
    service = a_service()
    async with fake_server(service) as server:
        for words in chance.sample(list(ENDS), 4):
            for way in ("off", "on"):
                service.stream_may_end = trio.Event()
                service.stops.clear()
                async with shell(agent, server, {"PENSTOCK_AGENT": way}) as typing:
                    await typing.type(f"penstock {words}\r")
                    await trio.sleep(chance.choice([0.02, 0.1, 0.5]) * chance.random())
                    await close_terminal(typing)
                    await until(agent, lambda state: not state["running"])
                if words != "run ls":
                    assert service.stops == []
    assert not agent.log.exists()
