"""What needs the terminal is the front end's: ^C, ^Z, questions, input, and its size."""

import os
import signal
import sys
from pathlib import Path

import pytest
import trio
from agents import AgentPlace, until
from cryptography.hazmat.primitives import serialization
from fake_service import HANDLE, FakeService, chunk, fake_server, finished
from patience import patient
from pki import shared_pki
from typed_shell import PROMPT, shell

from penstock.proto import command_pb2 as pb


def a_service() -> FakeService:
    service = FakeService()
    service.statuses["5"] = pb.StatusResponse(status="Job 5 is running.", job=service.job)
    service.messages = [chunk(b"hello\n")]
    service.stream_may_end = trio.Event()
    service.at_stop = [finished(0)]
    return service


async def test_on_a_terminal_it_is_on_by_itself(place: AgentPlace) -> None:
    """The first verb starts it, the next one runs in it; --no-agent and the variable: neither."""
    async with fake_server(a_service()) as server, shell(place, server) as typing:
        plain = await typing.line("penstock --no-agent status 5")
        assert "is running" in plain
        for word in ("off", "0"):  # and whatever else is not known
            assert "is running" in await typing.line(f"PENSTOCK_AGENT={word} penstock status 5")
        assert not place.socket.exists()
        assert "is running" in await typing.line("penstock status 5")
        await until(place, bool)
        assert "is running" in await typing.line("penstock status 5")
        assert place.state()["served"] == 1
        # In a pipe on both sides it is off.
        assert "running" in await typing.line("penstock status 5 </dev/null | cat")
        assert place.state()["served"] == 1


async def test_an_interrupt_is_the_verbs(agent: AgentPlace) -> None:
    """^C asks the job to stop, and the exit status is the job's; of another verb it is 130."""
    service = a_service()
    async with fake_server(service) as server, shell(agent, server) as typing:
        await typing.type("penstock run ls; echo status $?\r")
        await typing.until("hello")
        await typing.type("\x03")
        await typing.until("status 0")
        assert {stop.reason for stop in service.stops} == {"interrupted"}
        service.stream_may_end = trio.Event()
        begin = len(typing.shown)
        await typing.type(f"penstock stream {HANDLE}; echo status $?\r")
        await typing.until("hello", begin)
        await typing.type("\x03")
        assert "Detached" in await typing.until("status 130", begin)
        assert agent.state()["served"] == 2


async def test_it_stops_and_goes_on(agent: AgentPlace) -> None:
    """C70: ^Z gives the prompt back, and nothing is shown until fg."""
    service = a_service()
    service.at_stop = [chunk(b"later\n", offset=6), finished(0)]
    async with fake_server(service) as server, shell(agent, server) as typing:
        await typing.type(f"penstock stream -q --no-timestamps {HANDLE}; echo status $?\r")
        await typing.until("hello")
        begin = len(typing.shown)
        await typing.type("\x1a")
        assert "Stopped" in await typing.until(PROMPT, begin)
        service.stream_may_end.set()
        assert "later" not in await typing.line("sleep 0.3; echo here")
        begin = len(typing.shown)
        await typing.type("fg\r")
        assert "later" in await typing.until(PROMPT, begin + 3)


async def test_a_second_stop_and_an_interrupt_when_it_stands(agent: AgentPlace) -> None:
    """C70: fg, ^Z again, and what ends it then is as ever."""
    service = a_service()
    async with fake_server(service) as server, shell(agent, server) as typing:
        await typing.type(f"penstock stream {HANDLE}\r")
        await typing.until("hello")
        for _ in range(2):
            begin = len(typing.shown)
            await typing.type("\x1a")
            assert "Stopped" in await typing.until(PROMPT, begin)
            await typing.type("fg\r")
            await typing.until("penstock stream", begin)
            await trio.sleep(0.2)
        begin = len(typing.shown)
        await typing.type("\x03")
        assert "Detached" in await typing.until(PROMPT, begin)


async def test_a_passphrase_is_asked_for_once(agent: AgentPlace, encrypted: dict[str, str]) -> None:
    """Unseen, and only one that opens the key is kept. (The server refuses that CA's client.)"""
    async with fake_server(a_service()) as server, shell(agent, server, encrypted) as typing:
        begin = len(typing.shown)
        await typing.type("penstock status 5; echo status $?\r")
        await typing.until("Passphrase of", begin)
        assert not typing.echoes
        await typing.type("wrong\r")
        assert "status 2" in await typing.until("status ", begin + 40)
        for _ in range(2):
            begin = len(typing.shown)
            await typing.type("penstock status 5; echo status $?\r")
            await typing.until("Passphrase of", begin)
            await typing.type("the secret\r")
            assert "the secret" not in await typing.until(PROMPT, begin + 40)


async def test_the_passphrase_of_a_good_key_is_kept(agent: AgentPlace, tmp_path: Path) -> None:
    """For as long as the agent lives: each verb after the first one asks for nothing."""
    pair = shared_pki().clients["alice"]
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    path = tmp_path / "alice.key"
    path.touch(0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"the secret"),
        )
    )
    more = {"PENSTOCK_KEY": str(path)}
    async with fake_server(a_service()) as server, shell(agent, server, more) as typing:
        await typing.type("penstock status 5; echo status $?\r")
        await typing.until("Passphrase of")
        assert not typing.echoes
        await typing.type("the secret\r")
        shown = await typing.until("status 0")
        assert "the secret" not in shown
        assert typing.echoes
        await typing.until(PROMPT, typing.shown.index("status 0"))
        shown = await typing.line("penstock status 5")
        assert "is running" in shown
        assert "Passphrase" not in shown
        assert agent.state()["passphrases"] == 1
        # Another agent has to be told again.
        assert "ends" in await typing.line("penstock agent stop")
        assert agent.process is not None
        agent.process.wait(patient(10))


@pytest.mark.parametrize("key", ["\x03", "\x1a"])
async def test_a_key_at_the_question(
    agent: AgentPlace, encrypted: dict[str, str], key: str
) -> None:
    """^C leaves, ^Z stops; what is typed is shown again afterwards, and after fg not."""
    async with fake_server(a_service()) as server, shell(agent, server, encrypted) as typing:
        await typing.type("penstock status 5\r")
        await typing.until("Passphrase of")
        begin = len(typing.shown)
        await typing.type(key)
        await typing.until(PROMPT, begin)
        assert typing.echoes
        wanted = "was 130" if key == "\x03" else "was 148"
        assert wanted in await typing.line("echo was $?")
        if key == "\x1a":
            begin = len(typing.shown)
            await typing.type("fg\r")
            await typing.until("Passphrase of", begin)
            assert not typing.echoes
            await typing.type("\x03")
            await typing.until(PROMPT, begin)
        await until(agent, lambda state: not state["running"])


async def test_lines_fit_the_terminals_width(agent: AgentPlace) -> None:
    """As it is at that moment."""
    service = FakeService()
    service.jobs = [pb.Job(handle="7", command="x" * 200, state=pb.JOB_STATE_RUNNING)]
    async with fake_server(service) as server, shell(agent, server) as typing:
        for columns in (50, 100):
            typing.resize(columns)
            lines = (await typing.line("penstock list")).splitlines()
            assert columns - 10 <= max(len(line) for line in lines if "xxx" in line) <= columns


async def test_what_is_typed_is_the_jobs_input(agent: AgentPlace) -> None:
    """The front end reads the terminal, to its end."""
    service = FakeService()
    async with fake_server(service) as server, shell(agent, server) as typing:
        await typing.type(f"penstock send {HANDLE}; echo status $?\r")
        await typing.type("one line\r")
        await service.wait_input(9)
        await typing.type("\x04")
        await typing.until("status 0")
    assert service.input_ended
    assert bytes(service.input) == b"one line\n"


async def test_input_in_the_background_stops_it(agent: AgentPlace) -> None:
    """C70: as the terminal stops any program that reads it from there, until fg."""
    service = FakeService()
    async with fake_server(service) as server, shell(agent, server) as typing:
        await typing.line(f"penstock send {HANDLE} &")
        with trio.fail_after(patient(10)):
            while "Stopped" not in await typing.line("sleep 0.05; jobs"):
                pass
        begin = len(typing.shown)
        await typing.type("fg\r")
        await typing.until("penstock send", begin)
        await typing.type("one line\r")
        await service.wait_input(9)
        await typing.type("\x04")
        await typing.until("was sent 9 bytes")
    assert bytes(service.input) == b"one line\n"


async def test_a_terminal_that_is_closed(agent: AgentPlace) -> None:
    """HUP comes to the front end, and asks the job to stop."""
    service = a_service()
    async with fake_server(service) as server, shell(agent, server) as typing:
        await typing.type("penstock run ls\r")
        await typing.until("hello")
        os.kill(typing.output.process.pid, signal.SIGHUP)
        with trio.fail_after(patient(10)):
            await service.stop_arrived.wait()
        await until(agent, lambda state: not state["running"])


async def test_input_of_a_front_end_that_has_many_descriptors(agent: AgentPlace) -> None:
    """Those of its shell among them: its socket has a number above 1023."""
    many = "import os; [os.dup2(0, fd) for fd in range(3, 1100)]; os.execvp('penstock', {})"
    many = many.format(["penstock", "send", HANDLE])
    service = FakeService()
    async with fake_server(service) as server, shell(agent, server) as typing:
        await typing.line("ulimit -n 2000")
        await typing.type(f'{sys.executable} -c "{many}"; echo status $?\r')
        await typing.type("one line\r")
        await service.wait_input(9)
        await typing.type("\x04")
        await typing.until("status 0")
    assert bytes(service.input) == b"one line\n"
    assert agent.state()["served"] == 1


async def test_a_terminal_that_is_closed_at_the_question(
    agent: AgentPlace, encrypted: dict[str, str], tmp_path: Path
) -> None:
    """It ends as by HUP, or as it does without a passphrase, and with no bug's traceback."""
    ours, theirs = os.openpty()
    with (tmp_path / "errors").open("wb") as errors:
        async with fake_server(a_service()) as server:
            process = await trio.lowlevel.open_process(
                ["setsid", "--ctty", str(agent.program), "status", "5"],
                env=server.environment() | agent.environment() | encrypted,
                stdin=theirs,
                stdout=errors,
                stderr=errors,
            )
            os.close(theirs)
            shown = b""
            while b"Passphrase of" not in shown:
                await trio.lowlevel.wait_readable(ours)
                shown += os.read(ours, 4096)
            os.close(ours)
            with trio.fail_after(patient(10)):
                assert await process.wait() in (2, 129)
    assert "Traceback" not in (tmp_path / "errors").read_text()
    assert agent.state()["served"] == 1
