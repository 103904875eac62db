"""Each call's lines in the audit log, to the byte: programs read them, by key and by order."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trio
from fake_backend import FakeBackend
from service_world import World, asked_by, world

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.policy.control_policy import Control
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError

POLICY = b"""
[classes.free]
needs = { all = "best_effort" }
[commands.sleep]
path = "/bin/sleep"
class = "free"
stdin = true
[commands.print]
path = "/bin/echo"
class = "free"
arguments = [{ repeat = { slot = { pattern = "[\\u0001-~]{0,250}" }, max = 500 } }]
[clients.alice]
commands = ["sleep", "print"]
signals_per_minute = 2
max_streams = 1
max_running = 2
[clients.bob]
commands = ["sleep"]
[clients.carol]
commands = ["sleep"]
verbs = []
"""
Call = Callable[[], Awaitable[object]]


class Once:
    """One message of a stream, and no end."""

    def __init__(self, message: Any) -> None:
        self._message = message

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        await trio.lowlevel.checkpoint()
        if self._message is None:
            await trio.sleep_forever()
        message, self._message = self._message, None
        return message


class Lines:
    """What calls of these clients write, without the time, each job by its name."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.names: dict[str, str] = {}
        self._read = 0

    def name(self, job: Any, name: str) -> str:
        self.names |= {f'"{job.handle}"': f'"{name}"', job.id: f"ID-{name}"}
        return str(job.handle)

    async def of(self, method: str, message: Any, client: str = "alice") -> str:
        """The lines of one call, which may be refused."""
        function = getattr(self.w.service, method)
        if method == "SendInput":
            message = Once(message)
        try:
            if method in ("SendInput", "StreamOutput"):
                async with aclosing(function(message, asked_by(client))) as answers:
                    await anext(answers)
            else:
                await function(message, asked_by(client))
        except RpcError:
            pass
        return self.new()

    def new(self) -> str:
        text = self.w.audit_path.read_text()
        lines = [line.split(",", 1)[1] for line in text[self._read :].splitlines()]
        self._read = len(text)
        found = "\n".join(lines)
        for value, name in self.names.items():
            found = found.replace(value, name)
        return found.replace('"event":"decision",', "")


def said(client: str, verb: str, why: str = "", /, **about: object) -> str:
    """One line: a grant, or with ``why`` a refusal."""
    fields = {"client": client, "verb": verb, "allowed": not why, "message": why, **about}
    return json.dumps(fields, separators=(",", ":")).removeprefix("{")


JOB: dict[str, object] = {"handle": "J", "job": "ID-J"}
REQUESTS: dict[str, Callable[[str], Any]] = {
    "Start": lambda pid: pb.StartRequest(command="sleep"),
    "Stop": lambda pid: pb.StopRequest(pid=pid, no_wait=True),
    "Status": lambda pid: pb.StatusRequest(pid=pid),
    "StreamOutput": lambda pid: pb.StreamOutputRequest(pid=pid, raw=True),
    "List": lambda pid: pb.ListRequest(),
    "Wait": lambda pid: pb.WaitRequest(pid=pid),
    "Signal": lambda pid: pb.SignalRequest(pid=pid, signal="HUP"),
    "Pause": lambda pid: pb.PauseRequest(pid=pid),
    "Resume": lambda pid: pb.ResumeRequest(pid=pid),
    "SendInput": lambda pid: pb.SendInputRequest(pid=pid),
    "Remove": lambda pid: pb.RemoveRequest(pid=pid),
    "ServerInfo": lambda pid: pb.ServerInfoRequest(),
    "WhoAmI": lambda pid: pb.WhoAmIRequest(),
}
VERBS = {
    name: {
        "StreamOutput": "stream",
        "SendInput": "send",
        **dict.fromkeys(("ServerInfo", "WhoAmI"), "info"),
    }.get(name, name.lower())
    for name in REQUESTS
}
# What a refusal says before its job was looked up.
FIRST: dict[str, dict[str, object]] = {
    **{key: {"handle": "J"} for key in REQUESTS},
    **{key: {} for key in ("List", "ServerInfo", "WhoAmI", "SendInput")},
    "Start": {"command": "sleep"},
}


@pytest.mark.parametrize("method", REQUESTS)
async def test_a_stranger_and_a_client_without_the_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Before anything of the job is looked up; a foreign job is like one that is not there."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        lines = Lines(w)
        pid = lines.name(await w.manager.start("alice", JobSpec("sleep", stdin=True)), "J")
        verb, about = VERBS[method], FIRST[method]
        request = REQUESTS[method](pid)
        nobody = "mallory is no client of this server"
        assert await lines.of(method, request, "mallory") == said("mallory", verb, nobody, **about)
        refused = await lines.of(method, request, "carol")
        if method in ("ServerInfo", "WhoAmI"):
            assert refused == ""
            return
        why = f"the verb '{verb}' is not granted to carol"
        assert refused == said("carol", verb, why, **about)
        if method not in ("Start", "List"):
            assert await lines.of(method, request, "bob") == (
                said("bob", verb, f"Job {pid} not found", handle="J")
            )
            unknown = await lines.of(method, REQUESTS[method]("x" * 99))
            assert unknown == said("alice", verb, f"Job {'x' * 64} not found", handle="x" * 64)
            empty = await lines.of(method, REQUESTS[method](""))
            assert empty == said("alice", verb, "pid is empty; it is what start printed", handle="")


@pytest.mark.parametrize("method", ["Status", "StreamOutput", "Wait", "List", "SendInput"])
async def test_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """The first of its kind is a line, the others are counted."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        w.count_repeats()
        lines = Lines(w)
        job = await w.manager.start("alice", JobSpec("sleep", stdin=True))
        pid = lines.name(job, "J")
        if method == "Wait":
            w.backend.jobs[job.id].end(Verdict("exited", 0))
        about = {} if method == "List" else JOB
        request = REQUESTS[method](pid)
        assert await lines.of(method, request) == said("alice", VERBS[method], **about)
        assert await lines.of(method, request) == ""


async def test_what_is_of_a_wrong_form_or_over_a_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are refused before the job is looked up, some after it."""
    backend = FakeBackend()
    backend.control = Control(signals=frozenset({1}))
    async with world(tmp_path, monkeypatch, backend, POLICY) as w:
        w.limit._per_minute = 1000
        lines = Lines(w)
        job = await w.manager.start("alice", JobSpec("sleep", stdin=True))
        pid = lines.name(job, "J")
        wrong: list[tuple[str, Any, str, dict[str, object]]] = [
            (
                "Stop",
                pb.StopRequest(pid=pid, grace_s=-1),
                "grace_s is -1.0; it must be between 0 and 86400 seconds",
                {"handle": "J"},
            ),
            (
                "Signal",
                pb.SignalRequest(pid=pid),
                "signal is empty; it is a name or a number, such as TERM or 15",
                {"handle": "J"},
            ),
            (
                "StreamOutput",
                pb.StreamOutputRequest(pid=pid, since_ns=-1),
                "since_ns is before 1970; it is UTC nanoseconds since then",
                JOB,
            ),
            (
                "StreamOutput",
                pb.StreamOutputRequest(pid=pid, offset=9),
                "offset 9 is past the end; the next byte will be 0",
                JOB,
            ),
            (
                "SendInput",
                pb.SendInputRequest(pid=pid, goes_on=True),
                "goes_on needs a sender: the name that the earlier call gave",
                JOB,
            ),
            (
                "List",
                pb.ListRequest(page_token="x"),
                "page_token is not from an answer to this request",
                {},
            ),
            ("Remove", pb.RemoveRequest(pid=pid), f"job {pid} is running; stop it first", JOB),
        ]
        for method, message, why, about in wrong:
            verb = VERBS[method]
            assert await lines.of(method, message) == said("alice", verb, why, **about)
        assert await lines.of("Pause", pb.PauseRequest(pid=pid)) == said("alice", "pause", **JOB)
        assert await lines.of("Resume", pb.ResumeRequest(pid=pid)) == said("alice", "resume", **JOB)
        over = "alice may send 2 signals a minute"
        assert await lines.of("Pause", pb.PauseRequest(pid=pid)) == said(
            "alice", "pause", over, **JOB
        )
        assert await lines.of("Signal", pb.SignalRequest(pid=pid, signal="HUP", tree=True)) == said(
            "alice", "signal", over, **JOB, tree=True
        )
        first = w.service.StreamOutput(REQUESTS["StreamOutput"](pid), asked_by("alice"))
        async with aclosing(first):
            await anext(first)
            assert lines.new() == said("alice", "stream", **JOB)
            for method in ("StreamOutput", "SendInput"):
                assert await lines.of(method, REQUESTS[method](pid)) == said(
                    "alice", VERBS[method], "alice may have 1 streams open", **JOB
                )


async def test_signals_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was asked for; what another stop asks for anew is a line."""
    backend = FakeBackend()
    backend.control = Control(signals=frozenset({1}))
    async with world(tmp_path, monkeypatch, backend, POLICY) as w:
        w.count_repeats()
        lines = Lines(w)
        pid = lines.name(await w.manager.start("alice", JobSpec("sleep")), "J")
        hup = {**JOB, "signal": "HUP"}
        assert await lines.of("Signal", pb.SignalRequest(pid=pid, signal="1")) == said(
            "alice", "signal", **hup, tree=False
        )
        kill = {**JOB, "signal": "KILL"}
        why = "signal KILL is not granted for command 'sleep'; granted: HUP"
        assert await lines.of("Signal", pb.SignalRequest(pid=pid, signal="9")) == said(
            "alice", "signal", why, **kill, tree=False
        )
        nine = pb.StopRequest(pid=pid, signal="KILL", grace_s=3, no_wait=True)
        assert await lines.of("Stop", nine) == said("alice", "stop", why, **kill)
        stop = pb.StopRequest(pid=pid, signal="HUP", grace_s=3, no_wait=True)
        assert await lines.of("Stop", stop) == said("alice", "stop", **hup)
        more = {**JOB, "grace_s": 3.0, "signal": "HUP"}
        assert await lines.of("Stop", stop) == said("alice", "stop", **more)
        assert await lines.of("Stop", stop) == ""
        assert await lines.of("Stop", nine) == said("alice", "stop", why, **more | kill)
        assert await lines.of("Stop", pb.StopRequest(pid=pid)) == said("alice", "stop", **JOB)
        assert await lines.of("Stop", pb.StopRequest(pid=pid)) == ""
        assert await lines.of("Remove", pb.RemoveRequest(pid=pid)) == said("alice", "remove", **JOB)


async def test_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command line once its form is known, and what only asks is counted."""
    async with world(tmp_path, monkeypatch, FakeBackend(), POLICY) as w:
        w.count_repeats()
        w.limit._per_minute = 1000
        lines = Lines(w)
        line: dict[str, object] = {"command": "print", "argv": ["a"]}
        refused: list[tuple[dict[str, Any], str, dict[str, object]]] = [
            (
                {"command": ""},
                "command is empty; it is the policy's name of a command",
                {"command": ""},
            ),
            (
                {"command": "print", "env": {"A=B": "1"}},
                "environment key 'A=B' is not a name",
                {"command": "print"},
            ),
            (
                {"command": "print", "request_id": "x" * 129},
                "request_id is over 128 bytes",
                {"command": "print"},
            ),
            (
                {"command": "sleep", "argv": ["a"]},
                "argument 1, 'a', is not granted: the command takes no arguments; "
                "granted is: sleep",
                {"command": "sleep", "argv": ["a"]},
            ),
            (
                {"command": "print", "argv": ["a"], "stdin": True},
                "input is not granted for command 'print'",
                line,
            ),
            (
                {"command": "print", "argv": ["\x01" * 200] * 120},
                "command line and environment take 144499 bytes as JSON; "
                "at most 131072 are possible",
                {
                    "command": "print",
                    "argv": ["\x01" * 170],
                    "argv_count": 120,
                    "argv_bytes": 24120,
                    "argv_sha256": hashlib.sha256((b"\x01" * 200 + b"\0") * 120).hexdigest(),
                },
            ),
        ]
        for fields, why, about in refused:
            start = pb.StartRequest(**fields, validate_only=True)
            assert await lines.of("Start", start) == said("alice", "start", why, **about)
        asks = pb.StartRequest(command="print", argv=["a"], validate_only=True)
        assert await lines.of("Start", asks) == said("alice", "start", **line, starts=False)
        assert await lines.of("Start", asks) == ""
        starts = pb.StartRequest(command="print", argv=["a"], request_id="once")
        assert await lines.of("Start", starts) == said("alice", "start", **line)
        assert await lines.of("Start", starts) == ""
        starts.argv[:] = ["b"]
        other: dict[str, object] = {"command": "print", "argv": ["b"]}
        why = "request id 'once' was used before, for another start"
        assert await lines.of("Start", starts) == said("alice", "start", why, **other)
        for _ in range(2):
            await w.manager.start("alice", JobSpec("sleep"))
        why = "alice may have 2 jobs running; stop one first"
        assert await lines.of("Start", pb.StartRequest(command="sleep")) == said(
            "alice", "start", why, command="sleep", argv=[]
        )
