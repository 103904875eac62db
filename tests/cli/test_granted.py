"""whoami, commands and can start: what they print, where, and how they exit."""

import json
import time

import pytest
from fake_service import HANDLE, FakeServer, FakeService, fake_server

from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.error_status import bad_field, denied, failure, retryable, unauthenticated

DAY_NS = 86400 * 10**9


async def ask(service: FakeService, *words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a verb."""
    async with fake_server(service) as server:
        return await told(server, *words)


async def told(server: FakeServer, *words: str) -> tuple[int, str, str]:
    done = await server.run_cli(*words)
    return done.code, done.out.decode(), done.err.decode()


@pytest.mark.parametrize(
    ("days", "warned"), [(300, ""), (14.5, ""), (13.5, "in 13d12h"), (-1, "in 0s")]
)
async def test_a_certificate_that_ends_soon_is_warned_of(days: float, warned: str) -> None:
    """Within two weeks, on standard error, so that a pipe has the answer alone; not in JSON."""
    service = FakeService()
    service.who_am_i.certificate.not_after_ns = time.time_ns() + int(days * DAY_NS)
    async with fake_server(service) as server:
        code, out, err = await told(server, "whoami")
        assert (code, "certificate: serial" in out) == (0, True), (out, err)
        assert ("WARNING: our certificate ends " + warned in err) if warned else err == ""
        code, out, err = await told(server, "-o", "json", "whoami")
        assert (code, err) == (0, "")
        assert json.loads(out)["client_id"] == "alice"


async def test_what_a_server_says_cannot_touch_the_terminal() -> None:
    """Neither by a control character nor by a line of its own."""
    service = FakeService()
    evil = "\x1b]0;x\x07\nnext"
    service.who_am_i.CopyFrom(
        pb.WhoAmIResponse(
            client_id=evil,
            certificate=pb.Certificate(serial=evil, fingerprint=evil),
            verbs=[evil],
            quotas=[pb.Quota(name=evil)],
            commands=[
                pb.GrantedCommand(
                    name=evil,
                    description=evil,
                    program=evil,
                    usage=[evil, evil],
                    env_keys=[evil],
                    class_name=evil,
                    limits=pb.Limits(output_bytes=1, output_when_full=evil),
                    signals=[evil],
                )
            ],
        )
    )
    async with fake_server(service) as server:
        for words in (["whoami"], ["commands"], ["commands", "-q"], ["commands", evil]):
            code, out, _ = await told(server, *words)
            assert code == 0
            assert "\x1b" not in out
            assert "\nnext" not in out
            assert "\\x1b]0;x\\x07\\nnext" in out


async def test_commands_as_json_and_as_names() -> None:
    """One object a line, as list has it; a command without a usage is no mistake."""
    service = FakeService()
    service.who_am_i.commands.add(name="ls", usage=["ls [-l]"])
    service.who_am_i.commands.add(name="date")
    async with fake_server(service) as server:
        code, out, err = await told(server, "commands", "-o", "json")
        assert (code, err) == (0, "")
        assert [json.loads(line)["name"] for line in out.splitlines()] == ["ls", "date"]
        assert (await told(server, "commands", "--quiet")) == (0, "ls\ndate\n", "")
        code, out, _ = await told(server, "-o", "json", "commands", "ls")
        assert json.loads(out)["usage"] == ["ls [-l]"]
        assert (await told(server, "commands", "date"))[0] == 0


REFUSALS = [
    (denied("no such words", "commands.ls.arguments"), 5, "NOT_GRANTED"),
    (unauthenticated("alice is no client of this server"), 5, "UNKNOWN_CLIENT"),
    (bad_field("env", "environment key '1' is not a name"), 2, "BAD_FIELD"),
    (failure(StatusCode.FAILED_PRECONDITION, "START_FAILED", "no user"), 6, "START_FAILED"),
]


@pytest.mark.parametrize(("error", "status", "reason"), REFUSALS, ids=str)
async def test_a_start_that_would_be_refused(error: RpcError, status: int, reason: str) -> None:
    """No, with the words and the exit status of the start itself; in JSON and silent as well."""
    service = FakeService()
    service.start_errors = [error] * 4
    async with fake_server(service) as server:
        code, out, err = await told(server, "can", "start", "-e", "A=1", "ls", "-q", "x")
        rule = "The policy's key: commands.ls.arguments\n" if "such" in error.message else ""
        assert (code, out, err) == (status, "no\n", f"Error: {error.message}\n{rule}")
        code, _, words = await told(server, "start", "ls", "-q", "x")
        assert (code, words) == (status, f"Error: {error.message}\n")
        code, out, err = await told(server, "-o", "json", "can", "start", "ls", "x")
        assert (code, err) == (status, "")
        said = json.loads(out)
        assert (said["granted"], said["message"], said["reason"]) == (False, error.message, reason)
        assert (said["code"], said.get("rule", "")) == (error.code.name, rule[18:].strip())
        assert (await told(server, "can", "start", "-q", "ls", "x")) == (status, "", "")
    first, real, *_ = service.starts
    assert (first.validate_only, first.command, list(first.argv)) == (True, "ls", ["-q", "x"])
    assert dict(first.env) == {"A": "1"}
    assert not real.validate_only


async def test_a_start_that_would_be_granted() -> None:
    """Yes, and 0; nothing is started."""
    service = FakeService()
    async with fake_server(service) as server:
        assert (await told(server, "can", "start", "--stdin", "ls")) == (0, "yes\n", "")
        assert (await told(server, "can", "start", "-q", "ls")) == (0, "", "")
        json_line = '{"granted": true}\n'
        assert (await told(server, "can", "start", "-o", "json", "ls")) == (0, json_line, "")
        assert (await told(server, "can", "-o", "json", "start", "ls")) == (0, json_line, "")
    assert [start.validate_only for start in service.starts] == [True] * 4
    assert [start.stdin for start in service.starts] == [True, False, False, False]


async def test_an_error_that_is_no_answer() -> None:
    """It is neither yes nor no: the question stays open."""
    service = FakeService()
    service.start_errors = [retryable(StatusCode.RESOURCE_EXHAUSTED, "QUOTA", "too many", 1.0)]
    assert (await ask(service, "can", "start", "ls")) == (7, "", "Error: too many\n")


async def test_a_server_that_answers_nothing_of_a_command() -> None:
    """An error, and no traceback."""
    async with fake_server(FakeService()) as server:
        done = await server.run_cli("commands", "ls")
    assert (done.code, done.err) == (1, b"Error: the server has answered nothing of ls\n")


@pytest.mark.parametrize(
    "figure",
    [
        float("nan"),
        pytest.param(float("inf"), marks=pytest.mark.slow),
        pytest.param(-1e300, marks=pytest.mark.slow),
    ],
)
async def test_figures_that_are_no_numbers(figure: float) -> None:
    """Lines all the same, of every verb that shows them."""
    service = FakeService()
    service.who_am_i.quotas.append(pb.Quota(name="starts_per_minute", free_after_s=figure))
    service.who_am_i.client_limits.cpu_cores = figure
    service.who_am_i.commands.append(pb.GrantedCommand(name="ls", timeout_s=figure, grace_s=figure))
    usage = pb.ResourceUsage(cpu_percent=figure, cpu_total_s=figure, sample_ns=1)
    service.jobs = [service.job]
    service.statuses[HANDLE] = pb.StatusResponse(job=service.job, usage=usage)
    async with fake_server(service) as server:
        for words in (["whoami"], ["commands"], ["commands", "ls"], ["top"]):
            done = await server.run_cli(*words)
            assert done.code == 0
            assert b"Traceback" not in done.err
            assert done.out
