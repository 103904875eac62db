"""A terminal shows the same, byte for byte, whether a command line is run by an agent or not."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from agents import AgentPlace
from fake_service import HANDLE, FakeService, chunk, fake_server, finished
from patience import patient
from shells import need
from typed_shell import BASH, PROMPT, Shell, shell

WAYS = {"plain": {"PENSTOCK_AGENT": "off"}, "agent": {"PENSTOCK_AGENT": "on"}}


async def until_stopped(typing: Shell) -> None:
    """Until the shell says that of its job; each has a word of its own for it."""
    with trio.fail_after(patient(10)):
        while True:
            shown = await typing.line("sleep 0.05; jobs")
            if {"Stopped", "suspended"} & {*shown.split()}:
                return


async def shown_after(typing: Shell, key: str, line: str = "penstock status 5") -> bytes:
    """What the terminal shows from a question for a passphrase on, at which this key is pressed."""
    begin, byte = len(typing.shown), len(typing.output.out)
    await typing.type(f"{line}; echo status $?\r")
    await typing.until("Passphrase of", begin)
    with trio.fail_after(patient(10)):
        # No event reports it; it is flushed before what is typed then, which is lost before.
        while typing.echoes:  # noqa: ASYNC110
            await trio.sleep(0.01)
    await typing.type(key)
    await typing.until(PROMPT, begin)
    return bytes(typing.output.out[byte:])


@pytest.mark.parametrize("key", ["\x03", "\x1a", "\x04", "no\r"], ids=["^C", "^Z", "^D", "line"])
async def test_a_key_at_the_question_for_a_passphrase(
    agent: AgentPlace, encrypted: dict[str, str], key: str
) -> None:
    found = {}
    async with fake_server(FakeService()) as server:
        for way, more in WAYS.items():
            async with shell(agent, server, encrypted | more) as typing:
                found[way] = await shown_after(typing, key)
    assert agent.state()["served"] == 1
    assert found["agent"] == found["plain"]


async def test_a_question_in_the_background(agent: AgentPlace, encrypted: dict[str, str]) -> None:
    """It is stopped before it is shown, and is asked after fg."""
    found = {}
    async with fake_server(FakeService()) as server:
        for way, more in WAYS.items():
            async with shell(agent, server, encrypted | more) as typing:
                await typing.line("penstock status 5 &")
                await until_stopped(typing)
                assert "Passphrase of" not in typing.shown
                found[way] = await shown_after(typing, "no\r", "fg")
    assert agent.state()["served"] == 1
    assert found["agent"] == found["plain"]


@pytest.mark.parametrize(
    ("verb", "status"), [(f"send {HANDLE}", 2), ("run -i ls", 125), (f"attach -i {HANDLE}", 125)]
)
async def test_reading_from_a_group_that_no_shell_could_continue(
    agent: AgentPlace, tmp_path: Path, verb: str, status: int
) -> None:
    """It fails at once, and no job is started: the kernel stops nothing there. The shell reads its
    terminal meanwhile, which keeps every other reader of it waiting."""
    found = {}
    service = FakeService()
    async with fake_server(service) as server:
        for way, more in WAYS.items():
            async with shell(agent, server, more) as typing:
                file, said = tmp_path / way, tmp_path / f"{way}.out"
                # Those in front wait until it is in a group whose shell has ended.
                rest = f"penstock {verb} </dev/tty >{said} 2>&1; echo $? >{file}.status"
                parent = "/proc/$(cut -d ' ' -f 4 /proc/$$/stat)/comm"
                orphaned = f"while grep -q bash {parent}; do sleep 0.01; done"
                script = f"{orphaned}; {rest}; mv {file}.status {file}"
                (tmp_path / "script").write_text(script)
                await typing.line(f"(sh {tmp_path}/script &)")
                with trio.fail_after(patient(10)):
                    while not file.exists():  # noqa: ASYNC110  no event reports it
                        await trio.sleep(0.02)
                found[way] = (int(file.read_text()), said.read_text())
    assert service.starts == []
    assert found["plain"] == (status, "Error: standard input: Input/output error\n")
    assert found["agent"] == found["plain"]
    assert agent.state()["served"] == 1


@pytest.mark.parametrize(
    "program",
    [
        BASH,
        ("dash", "-i"),
        ("zsh", "-f", "-i", "+Z"),  # without its editor
    ],
    ids=lambda words: words[0],
)
async def test_input_of_a_run_in_the_background(agent: AgentPlace, program: Sequence[str]) -> None:
    """C70: it is stopped before a job is started, and after fg reads what is typed."""
    need(program[0])
    found = {}
    for way, more in WAYS.items():
        service = FakeService()
        service.messages = [chunk(b"hello\n")]
        service.stream_may_end = trio.Event()
        service.at_stop = [finished(0)]
        async with fake_server(service) as server, shell(agent, server, more, program) as typing:
            await typing.line("penstock run -i ls &")
            await until_stopped(typing)
            assert service.starts == []
            begin, byte = len(typing.shown), len(typing.output.out)
            await typing.type("fg\r")
            await typing.until("hello", begin)
            await typing.type("one line\r")
            await service.wait_input(9)
            await typing.type("\x04")
            with trio.fail_after(patient(10)):
                await service.wait_end_of_input()
            service.stream_may_end.set()
            await typing.until(PROMPT, begin)
            found[way] = bytes(typing.output.out[byte:])
        assert bytes(service.input) == b"one line\n"
    assert found["agent"] == found["plain"]
    assert agent.state()["served"] == 1
