"""Command lines that run at once in one process, each for another caller: the same bytes and exit
statuses as of processes, and none notices another."""

import ast
import signal

import pytest
import trio
import trio.testing
from cli_verbs import COMMANDS
from fake_service import HANDLE, Done, FakeServer, fake_server, finished
from hosted_lines import full_pipe, hosted_line, printing_service, run_hosted
from marks import SOURCE
from patience import patient

import penstock.cli.control
from penstock.cli.invocation import OWN, current
from penstock.cli.invoking import hosted_line as line_for_a_host
from penstock.cli.verb_forms import HOSTED
from penstock.proto import command_pb2 as pb

LINES = (
    *("start ls -la", "start -q ls", "-o json start ls", "start -e LANG ls", "run ls"),
    *("run --raw ls", "-o json run ls", "run -d ls", "stop 5", "stop --no-wait 5 6", "kill -HUP 5"),
    *("signal 5 TERM", "pause 5", "resume 5", "send 5", "status 5", "status 5 6", "rm 7 8"),
    *("-o json status 5 6", "list", "list -q", "-o json list", "list --state finished"),
    *("stream 5", "stream --raw 5", "stream --exit-code 5", "-o json stream 5", "attach 5"),
    *("stream --tail 1 --offset 0 5", "wait 5", "wait nightly", "status nigh", "whoami"),
    *("-o json whoami", "commands", "commands ls", "can start ls", "version", "top"),
    *("--version", "--help", "start --help", "help certs issue", "nonsense"),
    *("wait", "-o json nonsense", "-o json wait", "stream --reconnect -1 5", "schema list"),
    *("--addr :::1 list", "--connect-timeout 0 --addr 127.0.0.1:1 list", "context ls"),
    *("--cert none.crt list", "--key none.key -o json run ls", "completion bash"),
    *("context test", "start -e NOT_THERE ls", "--key-passphrase-file none list", "help none"),
    *("--context none list", "certs issue --ca-passphrase-file none bob"),
)


def normal(done: Done, server: FakeServer) -> Done:
    """Without what differs from one server to the next."""
    port = str(server.port).encode()
    return Done(done.code, *(each.replace(port, b"PORT") for each in (done.out, done.err)))


async def hosted_outcome(line: str, *options: str) -> Done:
    async with fake_server(printing_service()) as server:
        return normal(await run_hosted([*options, *line.split()], server.environment()), server)


# Each is a process, so the quick run has some of each kind.
SOON = {
    *("start ls -la", "-o json start ls", "run ls", "stop --no-wait 5 6", "send 5", "status 5 6"),
    *("-o json status 5 6", "list", "stream 5", "stream --exit-code 5", "wait 5", "version"),
    *("stream --tail 1 --offset 0 5", "start --help", "wait", "-o json nonsense", "context ls"),
    *("--key none.key -o json run ls", "context test", "help none"),
}


@pytest.mark.parametrize(
    "line", [pytest.param(line, marks=[pytest.mark.slow] * (line not in SOON)) for line in LINES]
)
async def test_the_bytes_and_statuses_of_a_process(line: str) -> None:
    """What the same words write and return as a process of their own."""
    async with fake_server(printing_service()) as server:
        expected = normal(await server.run_cli(*line.split()), server)
    assert await hosted_outcome(line) == expected


async def test_all_of_them_at_once() -> None:
    """In one Trio, each twice: as each gives alone. None is in a hurry, because a busy machine has
    so many handshakes at once done later than within the usual bound."""
    alone = {line: await hosted_outcome(line) for line in LINES}
    found: dict[str, list[Done]] = {line: [] for line in LINES}

    async def run(line: str) -> None:
        found[line].append(await hosted_outcome(line, "--connect-timeout", "120"))

    async with trio.open_nursery() as nursery:
        for line in LINES * 2:
            nursery.start_soon(run, line)
    assert found == {line: [done, done] for line, done in alone.items()}
    assert (current(), OWN.form.json, OWN.form.context) == (OWN, False, None)


async def test_json_here_and_text_there() -> None:
    """At once on one server: each has errors, and command lines in them, of its own form."""
    async with fake_server(printing_service()) as server:
        environment = server.environment()
        found: dict[str, Done] = {}

        async def run(line: str) -> None:
            found[line] = await run_hosted(line.split(), environment)

        lines = ["status 9", "-o json status 9"]
        async with trio.open_nursery() as nursery:
            for line in lines:
                nursery.start_soon(run, line)
    assert found[lines[0]].err == b"Error: Job 9 not found\n"
    assert found[lines[1]].err.startswith(b'{"error": {"code": "NOT_FOUND"')
    assert [done.code for done in found.values()] == [4, 4]


async def test_a_signal_ends_one_alone() -> None:
    """Of a verb that detaches, one that runs a job, and one that streams; others go on."""
    slow = printing_service()
    slow.messages = slow.messages[:1]
    slow.stream_may_end = trio.Event()
    slow.wait_may_answer = trio.Event()
    slow.at_stop = [finished()]
    async with fake_server(slow) as server:
        environment = server.environment()
        lines = {"wait 5": signal.SIGTERM, "stream 5": signal.SIGINT, "run ls": signal.SIGHUP}
        async with (
            hosted_line(["stream", "-q", "--no-timestamps", "5"], environment) as other,
            hosted_line(["wait", "6"], environment) as waiting,
        ):
            codes = {}
            for words, number in lines.items():
                if words == "run ls":
                    slow.stream_may_end = trio.Event()
                async with hosted_line(words.split(), environment) as line:
                    if words == "wait 5":
                        await slow.wait_arrived.wait()
                    else:
                        await line.wait_for("\u00fc".encode())
                    assert not other.ended.is_set()
                    if words == "run ls":
                        line.invocation.signal(number)
                        await slow.stop_arrived.wait()
                    else:
                        line.invocation.signal(number)
                codes[words] = (line.code, bytes(line.err).splitlines()[-1])
                assert not waiting.ended.is_set()
            other.invocation.signal(signal.SIGINT)
            slow.wait_may_answer.set()
    assert codes["wait 5"] == (
        143,
        b"Detached; each job goes on; wait again with: penstock wait 5",
    )
    assert codes["stream 5"] == (
        130,
        b"Detached; go on with: penstock stream 5 --offset 7",
    )
    assert codes["run ls"] == (0, f"Stopping {HANDLE}; ^C again to detach".encode())
    assert (waiting.code, other.code) == (7, 130)


async def test_a_second_signal_leaves_the_job() -> None:
    """As of a process: the first asks for the stop, the second detaches."""
    slow = printing_service()
    slow.messages = slow.messages[:1]
    slow.stream_may_end = trio.Event()
    slow.stop_may_answer = trio.Event()
    async with fake_server(slow) as server:
        async with hosted_line(["run", "ls"], server.environment()) as line:
            await line.wait_for("\u00fc".encode())
            line.invocation.signal(signal.SIGINT)
            await slow.stop_arrived.wait()
            line.invocation.signal(signal.SIGINT)
    assert line.code == 130
    go_on = f"go on with: penstock stream {HANDLE} --offset 7"
    assert line.err.splitlines()[-1] == f"Detached from job {HANDLE}; {go_on}".encode()


async def test_a_signal_that_no_verb_has_caught() -> None:
    """Before the verb, and behind it while its text waits: the signal's status, and no more."""
    many = printing_service()
    many.jobs = [pb.Job(handle=str(number), command="ls") for number in range(100)]
    async with fake_server(many) as server:
        environment = server.environment()
        with trio.fail_after(patient(20)), full_pipe() as (_, theirs):
            async with hosted_line(["list", "-q"], environment, out=theirs) as line:
                done = await run_hosted(["status", "5"], environment)
                assert done.code == 0
                await trio.testing.wait_all_tasks_blocked(0.1)
                assert len(many.lists) == 1
                assert not line.ended.is_set()
                line.invocation.signal(signal.SIGTERM)
        assert line.done() == Done(143, b"", b"")
        async with hosted_line(["status", "5"], environment) as line:
            line.invocation.signal(signal.SIGQUIT)
        assert line.done() == Done(131, b"", b"")


async def test_a_signal_that_the_caller_ignores() -> None:
    """As under nohup."""
    slow = printing_service()
    slow.wait_may_answer = trio.Event()
    async with fake_server(slow) as server:
        ignored = [signal.SIGHUP]
        async with hosted_line(["wait", "5"], server.environment(), ignored=ignored) as line:
            await slow.wait_arrived.wait()
            line.invocation.signal(signal.SIGHUP)
            await trio.testing.wait_all_tasks_blocked(0.05)
            slow.wait_may_answer.set()
    assert line.code == 7


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("form", ["text", "json"])
async def test_a_bug_is_told_once_and_stays_within(
    monkeypatch: pytest.MonkeyPatch, grouped: bool, form: str
) -> None:
    """Its traceback on its own standard error, status 1; nothing for the host."""

    async def broken(settings: object, pid: str, tree: bool, signal: str) -> None:
        if not grouped:
            raise ZeroDivisionError("a bug")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ZeroDivisionError("a bug")

    monkeypatch.setattr(penstock.cli.control, "signal", broken)
    async with fake_server(printing_service()) as server:
        words = ["-o", form, "signal", "5", "TERM"]
        done = await run_hosted(words, server.environment())
        assert (await run_hosted(["pause", "5"], server.environment())).code == 0
    assert (done.code, done.out) == (1, b"")
    assert done.err.count(b"ZeroDivisionError: a bug") == (1 if form == "text" else 2)
    assert done.err.startswith(b"Traceback (most recent call last)")
    assert (b'"reason": "BUG"' in done.err) == (form == "json")


async def test_cancelled_passes_through() -> None:
    """C22: the host leaves a line, as one that was killed; nothing is told, others go on."""
    slow = printing_service()
    slow.wait_may_answer = trio.Event()
    async with fake_server(slow) as server:
        async with hosted_line(["wait", "5"], server.environment()) as line:
            await slow.wait_arrived.wait()
            line.scope.cancel()
        assert line.scope.cancelled_caught
        assert line.code is None
        assert line.out + line.err == b""
        assert (await run_hosted(["pause", "5"], server.environment())).code == 0


async def test_which_lines_may_run_in_a_host() -> None:
    """By their declarations; a mistake, help and a missing verb are for a process of its own, and
    nothing is printed to find that out."""
    async with fake_server() as server:
        async with hosted_line(["list", "-q"], server.environment()) as probe:
            pass
        probe.out.clear()
        invocation = probe.invocation
        line = line_for_a_host(["--context", "x", "-o", "json", "stop", "5"], invocation)
        assert line is not None
        assert (line.settings.context, line.settings.json, line.hosted) == ("x", True, True)
        for words in ("top", "context ls", "stop", "start --help", "--version", "", "nonsense"):
            assert line_for_a_host(words.split(), invocation) is None, words
        # As a shell's <(...) gives it: of the caller's descriptors.
        for option in ("--ca", "--cert", "--key", "--key-passphrase-file"):
            assert line_for_a_host([option, "/dev/fd/63", "list"], invocation) is None, option
        invocation.environment = {"PENSTOCK_KEY_PASSPHRASE_FILE": "/proc/self/fd/63"}
        assert line_for_a_host(["list"], invocation) is None
    hosted = {name for name, verb in COMMANDS.items() if getattr(verb, HOSTED)}
    assert {*COMMANDS} - hosted == {
        *("top", "version", "completion", "help", "schema", "agent"),
        *(name for name in COMMANDS if name.startswith(("context ", "certs "))),
    }


# What may know of the process itself.
OF_THE_PROCESS = {
    *("__init__.py", "descriptors.py", "preparing.py", "invocation.py", "ready_help.py"),
    *("completing/entry.py", "ending_signals.py"),
}
# Each beside a way that a host takes.
ASKS_FIRST = {
    "passphrases.py": {"sys.stdin"},
    "full_screen.py": {"OUT"},
    "completing/completion_cache.py": {"os.getcwd"},
}


def test_no_verb_reaches_for_what_its_process_has() -> None:
    """Environment, streams, descriptors, directory: all of it is the invocation's."""
    forbidden = {"os.environ", "os.getenv", "sys.stdin", "sys.stdout", "sys.stderr", "os.getcwd"}
    for path in sorted((SOURCE / "cli").rglob("*.py")):
        name = path.relative_to(SOURCE / "cli").as_posix()
        # The shell is a host itself, which has its process for itself.
        if name in OF_THE_PROCESS or name.startswith("shell/"):
            continue
        tree = ast.parse(path.read_text())
        found = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        reached = (found & forbidden) | (names & {"OUT", "ERR", "print", "input", "getcwd"})
        assert reached == ASKS_FIRST.get(name, set()), name
        assert not found & {"sys.exit", "click.echo"}, name
