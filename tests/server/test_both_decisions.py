"""What the server says of a start, the supervisor says too: the same verdict in the same words.

The server's is the whole handler, the supervisor's the whole check, each with its own copy of the
policy, so that nothing beside ``may_start`` decides differently before it or after it.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from generations import in_force
from hypothesis import given
from hypothesis import strategies as st
from service_world import asked_by

from penstock.policy.policy_file import Policy, parse_policy
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.service import CommandService
from penstock.server.service_info import HostInfo
from penstock.supervisor.files.executables import Executable
from penstock.supervisor.files.program_files import ProgramFiles
from penstock.supervisor.ipc import protocol
from penstock.supervisor.ipc.command_spec import CommandSpec
from penstock.supervisor.ipc.from_server import Start
from penstock.supervisor.job.start_check import Refusal, StartCheck
from penstock.supervisor.users.command_users import CommandUsers

URI = "spiffe://example.org/ci/runner"
POLICY = """
[classes.free]
needs = {{ all = "best_effort" }}
[commands.show]
path = "{place}/program"
class = "free"
env_allowed = ["COLUMNS", "{long_key}", "{longer_key}"]
fixed = ["-x"]
stdin = true
arguments = [
    {{ optional = [{{ literal = "-f" }}, {{ path = {{ root = "{place}" }} }}] }},
    {{ repeat = {{ slot = {{ pattern = "[^/]{{0,255}}" }}, max = 500 }} }},
]
[commands.other]
path = "{place}/program"
class = "free"
[clients.alice]
commands = ["show", "other"]
[clients.bob]
commands = ["other"]
[clients.carol]
commands = ["show"]
verbs = ["status"]
[clients.erin]
commands = []
[clients."{uri}"]
commands = ["show"]
"""
LONG_KEY, LONGER_KEY = "K" * 128, "K" * 129
FAULTS = {
    StatusCode.UNAUTHENTICATED: protocol.DENIED,
    StatusCode.PERMISSION_DENIED: protocol.DENIED,
    StatusCode.INVALID_ARGUMENT: protocol.INVALID,
}
GRANTED = ("granted", "")
Said = tuple[str, str]


class Trail:
    """The server's audit log, in memory."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, event: str, **fields: Any) -> None:
        self.lines.append(fields)


class Both:
    def __init__(self, place: Path) -> None:
        text = POLICY.format(place=place, long_key=LONG_KEY, longer_key=LONGER_KEY, uri=URI)
        program = place / "program"
        program.write_bytes(b"\x7fELF")
        program.chmod(0o755)
        (place / "file").touch()
        status = program.stat()
        found = (status.st_dev, status.st_ino, status.st_uid, status.st_gid, status.st_mode)
        opened = Executable(str(program), -1, (*found, status.st_size, status.st_ctime_ns))
        self.use(parse_policy(text.encode()), parse_policy(text.encode()), opened)

    def use(self, servers: Policy, supervisors: Policy, opened: Executable) -> None:
        programs = ProgramFiles(
            dict.fromkeys(supervisors.commands, opened), frozenset({0, os.geteuid()})
        )
        self.opened = opened
        self.check = StartCheck(supervisors, supervisors.hash, programs, CommandUsers())
        self.trail = Trail()
        nothing: Any = None  # a start that only asks, without a request id, asks no manager
        trail: Any = self.trail
        host = HostInfo("user", "none", (), ())
        self.now = 0.0
        self.service = CommandService(nothing, in_force(servers), trail, host, lambda: self.now)

    async def server_says(self, client: str, start: pb.StartRequest) -> Said:
        self.trail.lines.clear()
        said = GRANTED
        try:
            await self.service.Start(start, asked_by(client))
        except RpcError as error:
            said = FAULTS[error.code], error.message
        (line,) = self.trail.lines
        assert (line["client"], line["verb"]) == (client, "start")
        assert (line["allowed"], line["message"]) == (said == GRANTED, said[1][:1024])
        return said

    def supervisor_says(self, client: str, start: pb.StartRequest) -> Said:
        request = Start(
            id="0" * 32,
            opaque=client,
            client=client,
            policy=self.check.policy.hash,
            spec=CommandSpec(
                start.command,
                tuple(start.argv),
                dict(start.env),
                start.timeout_s or None,
                start.stdin,
            ),
        )
        try:
            self.check.check(request)
        except Refusal as error:
            return error.fault, str(error)
        return GRANTED


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(tmp_path_factory.mktemp("decisions"))


def line(command: str = "show", *argv: str, **fields: Any) -> pb.StartRequest:
    return pb.StartRequest(command=command, argv=argv, validate_only=True, **fields)


ALICES: dict[str, tuple[str, pb.StartRequest]] = {
    "granted": ("granted", line("show", "-f", "file", "a", env={"COLUMNS": "80"}, stdin=True)),
    "timeout": ("granted", line(timeout_s=31_536_000.0)),
    "long key": ("granted", line(env={LONG_KEY: "v"})),
    "nothing": ("invalid", line("")),
    "NUL in the command": ("invalid", line("show\0")),
    "another case": ("denied", line("Show")),
    "a path": ("denied", line("/bin/show")),
    "long command": ("denied", line("c" * 300)),
    "NUL": ("invalid", line("show", "a\0b")),
    "NUL in a value": ("invalid", line(env={"COLUMNS": "\0"})),
    "no key": ("invalid", line(env={"A=B": "1"})),
    "empty key": ("invalid", line(env={"": "1"})),
    "longer key": ("invalid", line(env={LONGER_KEY: "v"})),
    "key that is not listed": ("denied", line(env={"LINES": "1"})),
    "two keys": ("denied", line(env={"LINES": "1", "ABC": "1"})),
    "our own": ("denied", line(env={"PENSTOCK_JOB": "1"})),
    "reserved": ("denied", line(env={"LD_PRELOAD": "/x.so"})),
    "input": ("denied", line("other", stdin=True)),
    "argument": ("denied", line("other", "a")),
    "slash": ("denied", line("show", "a/b", "c/d")),
    "argument and key": ("denied", line("other", "a", env={"ABC": "1"}, stdin=True)),
    "argument and form": ("invalid", line("other", "a", env={"1": "1"}, stdin=True)),
    "long": ("invalid", line("show", "-f", "file", *["x" * 255] * 490 + ["\u20ac" * 255] * 10)),
    "long value": ("invalid", line(env={"COLUMNS": "x" * 131_072})),
    "long as JSON": ("invalid", line("show", *["\x01" * 250] * 100)),
    "as long as may be": ("granted", line("show", "-f", "file", *["x" * 255] * 498)),
    "in slices": ("denied", line("show", "-f", "file", *["x" * 255] * 50, "/")),
    "below": ("invalid", line(timeout_s=-1.0)),
    "beyond": ("invalid", line(timeout_s=31_536_001.0)),
    "no number": ("invalid", line(timeout_s=float("nan"))),
    "without end": ("invalid", line(timeout_s=float("inf"))),
}
CLIENTS = ["alice", "bob", "carol", "erin", URI, "mallory", "", "Alice", "alice\0", "x" * 5000]


@pytest.mark.parametrize("name", ALICES)
async def test_both_say_the_same(both: Both, name: str) -> None:
    """Of each rule, for each kind of client."""
    verdict, start = ALICES[name]
    for client in CLIENTS:
        both.now += 60.0
        said = await both.server_says(client, start)
        assert said == both.supervisor_says(client, start), client
        if client == "alice":
            assert said[0] == verdict, said


async def test_both_refuse_what_no_client_may_set_though_their_policy_listed_it(
    both: Both, tmp_path: Path
) -> None:
    """No file does; neither relies on who read it."""
    show = both.check.policy.commands["show"]
    keys = ("PATH", "HOME", "LD_PRELOAD", "no_proxy", LONGER_KEY)
    listed = replace(show, env_allowed=show.env_allowed | frozenset(keys))
    policy = replace(both.check.policy, commands=both.check.policy.commands | {"show": listed})
    made = Both(tmp_path)
    made.use(policy, policy, made.opened)
    for key in keys:
        start = line(env={key: "1"})
        said = await made.server_says("alice", start)
        assert said == made.supervisor_says("alice", start)
        assert said[0] in ("denied", "invalid")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda text: text != "-f"
)
WORDS = st.sampled_from(["a", "-x", "./file", "a/b", "", "\0", "x" * 80]) | TEXT
KEYS = st.sampled_from(["COLUMNS", "LINES", "PATH", "HOME", "LD_AUDIT", LONG_KEY, LONGER_KEY, "1A"])
STARTS = st.builds(
    lambda command, argv, env, timeout_s, stdin: pb.StartRequest(
        command=command, argv=argv, env=env, timeout_s=timeout_s, stdin=stdin, validate_only=True
    ),
    st.sampled_from(["show", "show", "other", "none", ""]) | TEXT,
    st.builds(
        list[str].__add__, st.sampled_from([[], ["-f", "file"]]), st.lists(WORDS, max_size=5)
    ),
    st.dictionaries(KEYS | TEXT, WORDS, max_size=2),
    st.none() | st.floats(),
    st.booleans(),
)


@given(client=st.sampled_from(CLIENTS), start=STARTS)
def test_both_say_the_same_of_anything(both: Both, client: str, start: pb.StartRequest) -> None:
    """Whatever is sent. A start that only asks has no checkpoint, so nothing has to run it."""
    both.now += 60.0
    call = both.server_says(client, start)
    with pytest.raises(StopIteration) as returned:
        call.send(None)
    said = both.supervisor_says(client, start)
    assert returned.value.value == said
