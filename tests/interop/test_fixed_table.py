"""A client of another make, and one of the fixed table alone, do everything they know."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import patient
from running import RunningServer, policy_text, running_server, script

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = (
    script("idle", "sleep 300")
    + '[commands.lines]\npath = "/bin/sh"\nclass = "free"\n@user\n'
    + "fixed = ['-c', 'printf \"%s\\\\n\" \"$*\"; printf \"\\377x\"', 'lines']\n"
    + 'arguments = [{literal = "-n"}, {int = {min = 1, max = 9}}]\n'
)
CLIENTS = '[clients.alice]\ncommands = ["idle", "lines"]\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


@pytest.mark.parametrize("table", ["tests/fixed", "proto"])
def test_grpcio_does_all_four_calls(server: RunningServer, tmp_path: Path, table: str) -> None:
    """Generated from the fixed table and from today's proto: the same code, the same answers."""
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / table}"),
            *(f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"),
            "teleport/command.proto",
        ],
        check=True,
    )
    client = Path(__file__).with_name("fixed_table_client.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(client), str(tmp_path)],
        env=server.environment("alice"),
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    saw = json.loads(done.stdout)
    pid, idle = saw["pid"], saw["idle"]
    assert re.fullmatch(r"\d+(\.\d+)?", pid)
    assert (saw["first"], saw["output"]) == ("", "-n 2\n\ufffdx")
    assert saw["finished"].startswith(f"Job {pid} exited with code 0.\n\n=====")
    assert saw["running"].startswith(f"Job {idle} is running.\n\n=====")
    assert saw["running"].endswith("=" * 25)
    assert (saw["stopped"], saw["error"]) == (f"Job {idle} successfully stopped!", "")
    assert saw["unknown"] == ["NOT_FOUND", "Job 1 not found"]
