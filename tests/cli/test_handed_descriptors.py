"""What a caller hands to a process that runs its command line: descriptors, a directory, a terminal
to ask at. Whatever becomes of one, the lines of other callers go on."""

import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_service import HANDLE, Done, chunk, fake_server, terminal
from hosted_lines import full_pipe, hosted_line, printing_service, run_hosted
from patience import patient
from pki import shared_pki

from penstock.cli.handed_input import HandedInput
from penstock.cli.typed_path import HeldDirectory
from penstock.client import Client, Endpoint, connect


@asynccontextmanager
async def recording(seen: list[bytes], endpoint: Endpoint, **options: Any) -> AsyncIterator[Client]:
    """A connector: notes whose certificate is connected with."""
    seen.append(endpoint.certificate.read_bytes())
    async with connect(endpoint, **options) as client:
        yield client


def directory_of(client: str, under: Path) -> Path:
    """One with the files of a client, under the names that every client uses here."""
    pki = shared_pki()
    made = under / client
    made.mkdir()
    shutil.copy(pki.ca, made / "ca.crt")
    shutil.copy(pki.clients[client].certificate, made / "me.crt")
    shutil.copy(pki.clients[client].key, made / "me.key")
    return made


async def test_relative_paths_begin_where_each_caller_is(tmp_path: Path) -> None:
    """--ca, --cert and --key of two callers at once; what is told of them is what was typed."""
    files = "--ca ca.crt --cert ./me.crt --key ../{}/me.key whoami -o json"
    seen: dict[str, list[bytes]] = {"alice": [], "bob": []}
    async with fake_server(printing_service()) as server:
        environment = {"PENSTOCK_ADDR": f"127.0.0.1:{server.port}"}
        directories = {name: directory_of(name, tmp_path) for name in seen}

        async def run(name: str) -> Done:
            held = HeldDirectory(os.open(directories[name], os.O_RDONLY | os.O_DIRECTORY))
            try:
                return await run_hosted(
                    files.format(name).split(),
                    environment,
                    directory=held,
                    connector=partial(recording, seen[name]),
                )
            finally:
                held.close()

        async with trio.open_nursery() as nursery:
            for name in seen:
                nursery.start_soon(run, name)
        for name, certificates in seen.items():
            assert certificates == [shared_pki().clients[name].certificate.read_bytes()]
        (directories["bob"] / "ca.crt").unlink()
        done = await run("bob")
    assert (done.code, b"ca.crt (--ca): No such file or directory; give" in done.err) == (2, True)
    assert b"/proc" not in done.err


@pytest.mark.parametrize(
    "words", [["stream", "-q", "5"], ["run", "ls"], ["-o", "json", "stream", "5"]]
)
async def test_a_full_pipe_holds_up_its_own_line_alone(words: list[str]) -> None:
    """Others go on; a signal ends the one that stands; the offset counts nothing unwritten."""
    async with fake_server(printing_service()) as server:
        environment = server.environment()
        with trio.fail_after(patient(20)), full_pipe() as (_, theirs):
            async with hosted_line(words, environment, out=theirs) as line:
                await server.service.stream_read.wait()
                others = [await run_hosted(["stream", "-q", "5"], environment) for _ in range(3)]
                assert [done.code for done in others] == [0, 0, 0]
                assert not line.ended.is_set()
                line.invocation.signal(signal.SIGUSR1)
    assert line.code == 128 + signal.SIGUSR1
    assert b"--offset 0" in line.err


async def test_two_descriptors_of_one_place_keep_the_order() -> None:
    """As of ``2>&1``: what is said on either comes in the order in which it was said."""
    async with fake_server(printing_service()) as server:
        ours, theirs = os.pipe()
        done = await run_hosted(
            ["status", "9", "5", "8"], server.environment(), out=theirs, err=os.dup(theirs)
        )
        said = os.read(ours, 4096)
        os.close(ours)
    assert done.code == 4
    assert said.splitlines() == [
        *(b"Querying the status of 9...", b"Error: Job 9 not found", b""),
        *(b"Querying the status of 5...", b"Job 5 is running.", b""),
        *(b"Querying the status of 8...", b"Error: Job 8 not found"),
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["start", "ls"], 1, f"Job {HANDLE} was started; standard output could not"),
        (["stop", "5"], 1, "what was asked for is done, but standard output could not"),
        (["wait", "5"], 125, "what was asked for is done, but standard output could not"),
        (["stream", "5"], 1, "standard output could not be written to"),
    ],
)
async def test_output_that_fails(words: list[str], code: int, said: str) -> None:
    """A full disk is found out after the verb, and told as by a process."""
    async with fake_server(printing_service()) as server:
        full = partial(os.open, "/dev/full", os.O_WRONLY)
        expected = await server.run_cli(*words, out=full())
        done = await run_hosted(words, server.environment(), out=full())
    assert (done.code, done.err) == (expected.code, expected.err)
    assert done.code == code
    assert said in done.err.decode()


async def test_a_reader_that_has_gone() -> None:
    """As behind ``| head``: no failure of a stream's, 125 of run's."""
    codes = {}
    async with fake_server(printing_service()) as server:
        for verb in ("stream -q 5", "run ls", "list"):
            ours, theirs = os.pipe()
            os.close(ours)
            codes[verb] = (await run_hosted(verb.split(), server.environment(), out=theirs)).code
    assert codes == {"stream -q 5": 0, "run ls": 125, "list": 0}


async def test_input_that_is_handed_over() -> None:
    """To its end; and of one that ends before, nothing is taken that is not sent."""
    async with fake_server(printing_service()) as server:
        ours, theirs = os.pipe()
        stdin = HandedInput(ours)
        async with hosted_line(["send", "5"], server.environment(), stdin=stdin) as line:
            os.write(theirs, b"some ")
            await server.service.wait_input(5)
            os.write(theirs, b"input")
            os.close(theirs)
        assert (line.code, bytes(server.service.input)) == (0, b"some input")
        stdin.close()

        server.service.input.clear()
        server.service.input_ended = False
        ours, theirs = os.pipe()
        stdin = HandedInput(ours)
        async with hosted_line(["send", "5"], server.environment(), stdin=stdin) as line:
            os.write(theirs, b"one")
            await server.service.wait_input(3, calls=2)
            line.invocation.signal(signal.SIGINT)
        assert line.code == 130
        await trio.testing.wait_all_tasks_blocked(0.05)
        os.write(theirs, b"two")
        assert os.read(ours, 10) == b"two"
        os.close(theirs)
        stdin.close()


async def test_a_file_as_input_and_a_closed_descriptor() -> None:
    """A file cannot be waited for; what cannot be read is told before the server is asked."""
    async with fake_server(printing_service()) as server:
        stdin = HandedInput(os.open("/dev/null", os.O_RDONLY))
        done = await run_hosted(["send", "5"], server.environment(), stdin=stdin)
        assert (done.code, server.service.input_ended) == (0, True)
        stdin.close()
        stdin = HandedInput(os.open("/dev/null", os.O_WRONLY))
        done = await run_hosted(["send", "5"], server.environment(), stdin=stdin)
        assert done.err == b"Error: standard input: Bad file descriptor\n"
        stdin.close()
        assert len(server.service.sends) == 1


async def test_a_passphrase_is_asked_of_the_caller() -> None:
    """In a thread, at that caller's terminal; none is asked for where there is none."""
    pki = shared_pki()
    pair = pki.authority.issue("locked", "alice", password=b"secret")
    async with fake_server(printing_service()) as server:
        environment = server.environment() | {
            "PENSTOCK_CERT": str(pair.certificate),
            "PENSTOCK_KEY": str(pair.key),
        }
        may_answer = trio.Event()
        asked: list[str] = []

        def ask(question: str) -> str:
            asked.append(question)
            trio.from_thread.run(may_answer.wait)
            return "secret"

        async with hosted_line(["status", "5"], environment, ask=ask) as line:
            done = await run_hosted(["status", "5"], environment)
            assert (done.code, b"is encrypted: give --key-pass" in done.err) == (2, True)
            assert not line.ended.is_set()
            may_answer.set()
        assert (line.code, asked) == (0, [f"Passphrase of {pair.key}: "])

        def ends(question: str) -> str:
            raise EOFError

        done = await run_hosted(["status", "5"], environment, ask=ends)
        assert done.err == f"Error: no passphrase of {pair.key} was typed\n".encode()


@pytest.mark.parametrize("option", ["--key-passphrase-file", "--ca", "--cert", "--key"])
async def test_a_pipe_without_a_writer_blocks_nobody(tmp_path: Path, option: str) -> None:
    """Not even the host's end: a signal ends the line."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    async with fake_server(printing_service()) as server:
        words = [option, str(fifo), "status", "5"]
        with trio.fail_after(patient(20)):
            async with hosted_line(words, server.environment()) as line:
                assert (await run_hosted(["status", "5"], server.environment())).code == 0
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert not line.ended.is_set()
                line.invocation.signal(signal.SIGINT)
        assert line.code == 130
        os.close(os.open(fifo, os.O_RDWR))  # so that the thread that was left ends


@pytest.mark.parametrize("words", [["list"], ["stream", "5"], ["run", "ls"], ["status", "9"]])
async def test_a_terminal_that_is_handed_over(words: list[str]) -> None:
    """Its width, and colours as that caller's environment has them: as of a process there."""
    service = printing_service()
    service.messages.insert(0, chunk(b"10%\r\x1b[31m"))
    service.messages[1].offset, service.messages[1].next_offset = 9, 16
    service.messages[2].offset, service.messages[2].next_offset = 16, 20
    service.jobs[0].argv.append("long" * 20)
    seen: dict[str, list[tuple[int | None, bytes]]] = {"NO_COLOR": [], "FORCE_COLOR": []}
    async with fake_server(service) as server:
        for name, found in seen.items():
            environment = {"TERM": "xterm", name: "1"}
            async with terminal(60) as (theirs, shown):
                copy = os.dup(theirs)
                done = await server.run_cli(*words, out=theirs, err=copy, environment=environment)
            found.append((done.code, bytes(shown)))

        async def run(name: str) -> None:
            environment = server.environment() | {"TERM": "xterm", name: "1"}
            async with terminal(60) as (theirs, shown):
                copy = os.dup(theirs)
                async with hosted_line(words, environment, out=theirs, err=copy) as line:
                    pass
            seen[name].append((line.code, bytes(shown)))

        async with trio.open_nursery() as nursery:
            for name in seen:
                nursery.start_soon(run, name)
    for of_a_process, of_a_host in seen.values():
        assert of_a_host == of_a_process
    assert (seen["NO_COLOR"] != seen["FORCE_COLOR"]) == (words == ["list"])
