"""Each exit status of docs/cli.md, by the real binary; and the errors behind it under -o json."""

import json
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from documents import ROOT
from fake_service import HANDLE, FakeService, chunk, fake_server, finished, gap
from google.rpc.error_details_pb2 import ErrorInfo
from json_schema import mistakes
from ports import reserved_port

from penstock.cli.json_schemas import ERROR, schema_of
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

CONTROL, PASSED = "control verbs", "verbs that pass a job's status through"


@dataclass
class Case:
    """``words`` against a server that ``service`` has prepared; ``number``: a signal that comes
    once the verb has asked. ``code`` and ``reason`` are what an error says as JSON."""

    words: list[str]
    status: int
    service: Callable[[FakeService], object] = lambda service: None
    number: int = 0
    code: str = ""
    reason: str = ""
    environment: dict[str, str] = field(default_factory=dict)


def failing(code: StatusCode, reason: str = "") -> RpcError:
    details = [ErrorInfo(reason=reason, domain="penstock")] if reason else []
    return RpcError(code, "so it is", details)


def setting(**values: Any) -> Callable[[FakeService], object]:
    def prepare(service: FakeService) -> None:
        # Lists are copied, because a service takes items out of its own.
        for name, value in values.items():
            setattr(service, name, [*value] if isinstance(value, list) else value)

    return prepare


def streaming(*messages: pb.StreamOutputResponse) -> Callable[[FakeService], object]:
    return setting(messages=list(messages))


def waiting(service: FakeService) -> None:
    service.wait_may_answer = type(service.wait_may_answer)()


def unended(service: FakeService) -> None:
    service.messages = [chunk(b"x\n")]
    service.stream_may_end = type(service.stream_may_end)()


DENIED = failing(StatusCode.PERMISSION_DENIED, "NOT_GRANTED")
CASES = {
    ("the job's own", PASSED): Case(["run", "ls"], 42, streaming(finished(42))),
    ("0", CONTROL): Case(["list"], 0),
    ("1", CONTROL): Case(["stream", HANDLE], 1, streaming(gap(0, 9, "lost"), finished())),
    ("2", CONTROL): Case(["status"], 2, code="INVALID_ARGUMENT", reason="USAGE"),
    ("3", CONTROL): Case(["list"], 3, code="UNAVAILABLE", reason="CONNECTION_LOST"),
    ("4", CONTROL): Case(["status", HANDLE], 4, code="NOT_FOUND"),
    ("5", CONTROL): Case(
        ["start", "ls"],
        5,
        setting(start_errors=[DENIED]),
        code="PERMISSION_DENIED",
        reason="NOT_GRANTED",
    ),
    ("6", CONTROL): Case(
        ["pause", HANDLE],
        6,
        setting(control_error=failing(StatusCode.FAILED_PRECONDITION, "FINISHED")),
        code="FAILED_PRECONDITION",
        reason="FINISHED",
    ),
    ("7", CONTROL): Case(
        ["start", "ls"],
        7,
        setting(start_errors=[failing(StatusCode.RESOURCE_EXHAUSTED)]),
        code="RESOURCE_EXHAUSTED",
    ),
    ("124", CONTROL): Case(
        ["resume", HANDLE],
        124,
        setting(control_error=failing(StatusCode.DEADLINE_EXCEEDED)),
        code="DEADLINE_EXCEEDED",
    ),
    ("124", PASSED): Case(
        ["wait", HANDLE], 124, setting(end=pb.EndRecord(reason="timed_out", signal=15))
    ),
    ("125", PASSED): Case(["run"], 125, code="INVALID_ARGUMENT", reason="USAGE"),
    ("126", PASSED): Case(
        ["run", "ls"],
        126,
        setting(start_errors=[DENIED]),
        code="PERMISSION_DENIED",
        reason="NOT_GRANTED",
    ),
    ("127", PASSED): Case(
        ["attach", HANDLE],
        127,
        setting(stream_errors=[failing(StatusCode.NOT_FOUND)]),
        code="NOT_FOUND",
    ),
    ("128 + N", PASSED): Case(
        ["wait", HANDLE], 137, setting(end=pb.EndRecord(reason="signaled", signal=9))
    ),
    ("128 + N, as 130, 143", CONTROL): Case(
        ["stream", HANDLE], 143, unended, signal.SIGTERM, code="CANCELLED", reason="INTERRUPTED"
    ),
    ("128 + N, as 130, 143", PASSED): Case(
        ["wait", HANDLE], 130, waiting, signal.SIGINT, code="CANCELLED", reason="INTERRUPTED"
    ),
}


def test_every_status_of_the_page_has_a_case() -> None:
    """Of both columns."""
    page = (ROOT / "docs/cli.md").read_text()
    table = page.split("| exit status |")[1].split("\n\n")[0].splitlines()[2:]
    found = set()
    for line in table:
        status, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        for cell, column in zip(cells, (CONTROL, PASSED), strict=True):
            if cell:
                found.add((status, column))
    assert found == set(CASES)


def test_every_error_is_told_in_the_form_that_was_asked_for() -> None:
    """One place prints them; can says its answer as JSON itself."""
    found = {
        path.name
        for path in (ROOT / "src/penstock/cli").rglob("*.py")
        if re.search(r"complain\([^)]*Error: ", path.read_text())
    }
    assert found == {"error_report.py", "can.py"}


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", CASES, ids=lambda name: f"{name[0]}-{name[1][:7]}")
async def test_an_exit_status(name: tuple[str, str], form: str) -> None:
    """The same in both forms; an error is told in the one that was asked for."""
    case = CASES[name]
    service = FakeService()
    case.service(service)
    async with fake_server(service) as server:
        environment = dict(case.environment)
        with reserved_port() as dead:
            if case.status == 3:
                environment["PENSTOCK_ADDR"] = f"127.0.0.1:{dead}"
            words = ["--connect-timeout", "0", "-o", form, *case.words]
            async with server.cli(*words, environment=environment) as cli:
                if case.number:
                    await (service.wait_arrived if "wait" in words else service.stream_read).wait()
                    if "stream" in words:
                        await cli.wait_for(b"x\n" if form == "text" else b"eAo=")
                    cli.process.send_signal(case.number)
                await cli.process.wait()
            done = await cli.done()
    assert done.code == case.status, done.err
    lines = done.err.decode().splitlines()
    assert b"Traceback" not in done.err
    if form == "json" and case.code:
        told = json.loads(lines[-1])
        schema = schema_of(ERROR)
        assert mistakes(told, schema, schema) == []
        error = told["error"]
        assert (error["code"], error["exit_status"]) == (case.code, case.status)
        # A server that says no reason has the status's name as one.
        assert error["reason"] == (case.reason or case.code)
        assert error["message"]
        assert not error["message"].startswith("Error")
    elif case.code:
        assert any(line.startswith(("Error: ", "Detached")) for line in lines), lines
