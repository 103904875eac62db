"""Bad input gets the statuses of docs/architecture.md, and costs nobody else anything."""

import subprocess
from collections.abc import Iterator

import pytest
import trio
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from patience import patient
from pki import Pair
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, Endpoint, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import HandshakeFailed, RpcError, StatusCode
from penstock.server.rate_limits import COSTLY_PER_S
from penstock.server.refusal_budget import PER_MINUTE

COMMANDS = (
    script("idle", "sleep 300")
    + '[commands.echo]\npath = "/bin/echo"\nclass = "free"\n@user\n'
    + 'arguments = [{enum = ["yes", "no"]}, {repeat = {slot = {pattern = "[ -~]{0,20}"}, '
    + "min = 0, max = 3}}]\n"
)
CLIENTS = """
[clients.alice]
commands = ["idle", "echo"]
[clients.bob]
commands = ["idle"]
max_running = 1
verbs = ["start", "stop", "status"]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


async def refused(client: Client, request: pb.StartRequest) -> RpcError:
    """What a start was refused with."""
    with pytest.raises(RpcError) as caught:
        await client._channel.unary(
            "teleport.CommandService", "Start", request, pb.StartResponse, timeout_s=10
        )
    assert any(isinstance(detail, ErrorInfo) for detail in caught.value.details)
    return caught.value


BAD_FIELDS = {
    "command": pb.StartRequest(command=""),
    "argv": pb.StartRequest(command="echo", argv=["yes", "a\0b"]),
    "env": pb.StartRequest(command="echo", argv=["yes"], env={"A=B": "1"}),
    "request_id": pb.StartRequest(command="echo", argv=["yes"], request_id="x" * 200),
    "timeout_s": pb.StartRequest(command="echo", argv=["yes"], timeout_s=-1),
}


@pytest.mark.parametrize("field", BAD_FIELDS)
async def test_a_bad_field_is_named(server: RunningServer, field: str) -> None:
    """INVALID_ARGUMENT with a BadRequest that names the field."""
    async with connect(server.endpoint("alice")) as client:
        error = await refused(client, BAD_FIELDS[field])
    assert error.code is StatusCode.INVALID_ARGUMENT
    (bad,) = [detail for detail in error.details if isinstance(detail, BadRequest)]
    assert bad.field_violations[0].field == field


async def test_ten_megabytes_of_argv_are_invalid(server: RunningServer) -> None:
    """Too long for a message or for argv: that call alone fails."""
    async with connect(server.endpoint("alice")) as client:
        with pytest.raises(RpcError) as caught:  # the transport's own limit comes first
            await client.start("echo", ["x" * 10_000_000])
        assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED
        assert any(isinstance(detail, ErrorInfo) for detail in caught.value.details)
        error = await refused(client, pb.StartRequest(command="echo", argv=["x" * 200_000]))
        assert error.code is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "request_",
    [
        pb.StartRequest(command="rm"),
        pb.StartRequest(command="/bin/echo", argv=["yes"]),
        pb.StartRequest(command="echo", argv=["maybe"]),
        pb.StartRequest(command="echo"),
        pb.StartRequest(command="echo", argv=["yes", "a", "b", "c", "d"]),
        pb.StartRequest(command="echo", argv=["yes", "-rf"]),
        pb.StartRequest(command="echo", argv=["yes"], env={"LD_PRELOAD": "/tmp/x.so"}),
    ],
    ids=["unknown", "path", "enum", "missing", "many", "option", "env"],
)
async def test_what_is_not_granted_is_denied(
    server: RunningServer, request_: pb.StartRequest
) -> None:
    """PERMISSION_DENIED, and one line of audit that says so."""
    lines = len(server.audit())
    async with connect(server.endpoint("alice")) as client:
        error = await refused(client, request_)
    assert error.code is StatusCode.PERMISSION_DENIED
    (line,) = server.audit()[lines:]
    assert (line["client"], line["verb"], line["allowed"]) == ("alice", "start", False)


async def test_a_foreign_job_and_an_unknown_one_are_the_same(server: RunningServer) -> None:
    """NOT_FOUND byte for byte, for every verb."""
    async with (
        connect(server.endpoint("alice")) as alice,
        connect(server.endpoint("bob")) as bob,
    ):
        job = await alice.start("idle")
        errors = []
        for handle in (job.handle, "1", "nonsense"):
            for call in (bob.status, bob.stop):
                with pytest.raises(RpcError) as caught:
                    await call(handle)
                error = caught.value
                details = [detail.SerializeToString(deterministic=True) for detail in error.details]
                errors.append((error.code, error.message.replace(handle, "@"), details))
        await alice.stop(job.handle)
    assert errors[0][0] is StatusCode.NOT_FOUND
    assert errors.count(errors[0]) == len(errors)


async def test_quotas_and_verbs(server: RunningServer) -> None:
    """A full quota is RESOURCE_EXHAUSTED for that client alone; a verb must be granted."""
    async with (
        connect(server.endpoint("alice")) as alice,
        connect(server.endpoint("bob")) as bob,
    ):
        job = await bob.start("idle")
        error = await refused(bob, pb.StartRequest(command="idle"))
        assert error.code is StatusCode.RESOURCE_EXHAUSTED
        other = await alice.start("idle")
        with pytest.raises(RpcError) as caught:
            await bob.jobs()
        assert caught.value.code is StatusCode.PERMISSION_DENIED
        await bob.stop(job.handle)
        await alice.stop(other.handle)


async def test_nobody_of_the_policy_is_unauthenticated(server: RunningServer) -> None:
    """A good certificate of the right CA with a name that the policy does not have."""
    async with connect(server.endpoint("carol")) as client:
        with pytest.raises(RpcError) as caught:
            await client.server_info()
    assert caught.value.code is StatusCode.UNAUTHENTICATED


async def test_strangers_fail_in_the_handshake(server: RunningServer) -> None:
    """Another CA, an expired certificate, a server's certificate as client's."""
    pki = server.pki
    for pair in (pki.other_client, pki.expired_client, pki.server):
        endpoint = _endpoint(server, pair)
        if pair is pki.server:
            pair.key.chmod(0o600)
        with pytest.raises(HandshakeFailed):
            async with connect(endpoint) as client:
                await client.server_info()


def _endpoint(server: RunningServer, pair: Pair) -> Endpoint:
    return Endpoint("127.0.0.1", server.port, server.pki.ca, pair.certificate, pair.key)


@pytest.mark.parametrize("option", [[], ["-tls1_2"]], ids=["no certificate", "TLS 1.2"])
def test_openssl_gets_no_further_than_the_handshake(
    server: RunningServer, option: list[str]
) -> None:
    """Without a certificate, and below TLS 1.3, openssl's client is told off by an alert."""
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}"),
            *("-CAfile", str(server.pki.ca), "-alpn", "h2", "-quiet", *option),
        ],
        input=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        capture_output=True,
        timeout=patient(20),
        check=False,
    )
    assert b"alert" in done.stderr
    assert done.returncode != 0


async def test_a_request_id_starts_one_job(server: RunningServer) -> None:
    """The same id and body gives the same job; another body ALREADY_EXISTS."""
    async with connect(server.endpoint("alice")) as client:
        first = await client.start("echo", ["yes"], request_id="once")
        again = await client.start("echo", ["yes"], request_id="once")
        assert again.handle == first.handle
        error = await refused(
            client, pb.StartRequest(command="echo", argv=["no"], request_id="once")
        )
    assert error.code is StatusCode.ALREADY_EXISTS


async def test_stop_of_a_finished_job_succeeds_and_says_so(server: RunningServer) -> None:
    """Stopping twice gives one end record."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("idle")
        first = await client.stop(job.handle, reason="enough")
        second = await client.stop(job.handle)
    assert first.result == f"Job {job.handle} successfully stopped!"
    assert second.already_finished
    assert first.job.end == second.job.end
    assert second.job.end.stop_reason == "enough"


@pytest.mark.slow
async def test_a_flood_of_refusals_costs_the_audit_log_little() -> None:
    """Somebody whom the policy does not know and a client with the largest command line: short
    lines, then RESOURCE_EXHAUSTED and a count; others and what is granted go on."""
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        flood = pb.StartRequest(command="idle", argv=["\x01" * 130_000])
        codes: set[StatusCode] = set()
        async with (
            connect(server.endpoint("alice")) as alice,
            connect(server.endpoint("bob")) as bob,
            connect(server.endpoint("carol")) as carol,
        ):

            async def refuse(client: Client) -> None:
                for _ in range(PER_MINUTE // 10 + 5):
                    codes.add((await refused(client, flood)).code)

            async with trio.open_nursery() as nursery:
                for client in [alice, carol] * 10:
                    nursery.start_soon(refuse, client)
            assert codes == {
                StatusCode.PERMISSION_DENIED,
                StatusCode.UNAUTHENTICATED,
                StatusCode.RESOURCE_EXHAUSTED,
            }
            error = await refused(bob, pb.StartRequest(command="echo"))
            assert error.code is StatusCode.PERMISSION_DENIED
            await trio.sleep(2 / COSTLY_PER_S)  # she has used up her starts of these seconds
            await alice.stop((await alice.start("idle")).handle)
        path = server.directory / "state" / "audit.jsonl"
        assert path.stat().st_size < 2_000_000
        server.process.terminate()
        server.process.wait(20)
        told = {
            line["client"]: line["count"]
            for line in server.audit()
            if line["event"] == "refusals.suppressed"
        }
        assert told == {"alice": 50, "carol": 50}
