"""A job's output from a real penstockd to grpc-go: all of it, however fast it comes.

grpc-go measures the bandwidth with a PING a round trip while data comes, and so looked like an
attack after some 100 MB, also of a job that was held to 25 MB/s.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign import run_foreign
from patience import patient
from running import RunningServer, policy_text, running_server, script

from penstock.client import connect
from penstock.proto import command_pb2 as pb

GIB = 2**30
PACED_BYTES_PER_S = 25_000_000
LONG_S = patient(150)
PRINTS = f"seq 1 999999999 | head -c {GIB}"
COMMANDS = (
    # Nothing of the disk class is held here, as what is shown is the way to the client.
    script("fast", PRINTS)
    + 'output = "2GiB"\n'
    + '[classes.paced]\nprocesses = 256\noutput = "25MB/s"\nneeds = { all = "best_effort" }\n'
    + script("paced", PRINTS, limits="paced")
    + 'output = "2GiB"\n'
)
CLIENTS = '[clients.alice]\ncommands = ["fast", "paced"]\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(LONG_S + 60)
@pytest.mark.parametrize("command", ["fast", "paced"])
async def test_a_gibibyte_of_a_job(server: RunningServer, grpc_go: Path, command: str) -> None:
    """Live, from its first byte to its end record, on one connection that stays."""
    handle = server.start("alice", command)
    request = pb.StreamOutputRequest(pid=handle, raw=True).SerializeToString().hex()
    certificates = str(server.pki.directory)
    program = [str(grpc_go), str(server.port), certificates, f"job_output={request}"]
    printed = (await run_foreign(program, LONG_S)).decode().split()
    async with connect(server.endpoint("alice")) as client:
        end = (await client.wait(handle)).end
    print(f"{command}: {printed}, {json.dumps(end.reason)}")
    assert int(printed[0]) == end.output_bytes == GIB
    assert printed[1] == end.output_sha256
    log = "\n".join(server.log_lines)
    assert "too many" not in log
    assert "PING" not in log
    if command == "paced":
        info = server.cli("alice", "-o", "json", "status", handle).stdout
        began, ended = (int(json.loads(info)["job"][key]) for key in ("started_ns", "ended_ns"))
        assert GIB / ((ended - began) / 1e9) < 1.2 * PACED_BYTES_PER_S
