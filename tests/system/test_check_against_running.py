"""``penstockd check --against-running``: what a reload would change, asked of a real penstockd."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import RunningServer, policy_text, running_server, script

COMMANDS = script("idle", "sleep 300") + script("hello", "echo hello")
CLIENTS = """
[clients.alice]
commands = ["idle", "hello"]
[clients.bob]
commands = ["idle"]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def check(server: RunningServer, *options: str) -> subprocess.CompletedProcess[str]:
    config = str(server.directory / "penstockd.toml")
    program = [sys.executable, "-m", "penstock.penstockd", "check", "--config", config]
    return subprocess.run([*program, *options], capture_output=True, text=True, check=False)


def test_what_a_reload_would_change(server: RunningServer) -> None:
    """Who gains and loses what, what needs a restart, and which jobs are touched; nothing has
    changed by that. Without a difference that is said."""
    done = check(server, "--against-running")
    assert done.returncode == 0, done.stderr
    assert "nothing of configuration and policy" in done.stdout
    alices, bobs = server.start("alice", "idle"), server.start("bob", "idle")
    policy, config = server.directory / "policy.toml", server.directory / "penstockd.toml"
    before = {path: path.read_text() for path in (policy, config)}
    text = before[policy].replace('[clients.bob]\ncommands = ["idle"]\n', "")
    text = text.replace('["idle", "hello"]', '["idle"]')
    policy.write_text('on_revoke = "stop"\n' + text + '[clients.carol]\ncommands = ["hello"]\n')
    config.write_text("max_jobs = 7\nstate_dir_x = 1\n" + before[config])
    try:
        wrong = check(server, "--against-running")  # of files that are misread nothing is compared
        assert wrong.returncode == 2
        assert wrong.stdout == ""
        config.write_text('server_silence_s = 9\naudit_log = "/no/such/a"\n' + before[config])
        wrong = check(server, "--against-running")
        assert wrong.returncode == 2
        assert "would be refused for these mistakes; once they are mended" in wrong.stdout
        config.write_text(
            "max_jobs = 7\n"
            + before[config].replace(f"{server.directory}/work", f"{server.directory}/other")
        )
        done = check(server, "--against-running")
        assert done.returncode == 0, done.stderr
        lines = [line.strip() for line in done.stdout.splitlines()]
        assert any(line.startswith("client carol comes in, ") for line in lines), done.stdout
        assert "client bob is out; its jobs are stopped" in lines
        assert "client alice loses the command hello" in lines
        assert "max_jobs: is now 7; it was 512" in lines
        assert any(line.startswith("work_root: needs a restart") for line in lines)
        assert f"job of process {bobs}, idle of bob: is stopped" in lines
        assert not any(f"process {alices}," in line for line in lines)
        found = json.loads(check(server, "--against-running", "-o", "json").stdout)
        assert found["against_running"]["jobs"] == [
            {"pid": int(bobs), "client": "bob", "command": "idle", "fate": "stop"}
        ]
        assert found["against_running"]["pid"] == server.process.pid
    finally:
        for path, content in before.items():
            path.write_text(content)
    for client, pid in (("alice", alices), ("bob", bobs)):
        assert server.cli(client, "stop", pid).returncode == 0


def test_without_a_penstockd_there_is_nothing_to_ask(server: RunningServer, tmp_path: Path) -> None:
    """Exit status 1, and the files are checked all the same."""
    config = server.directory / "other.toml"
    text = (server.directory / "penstockd.toml").read_text()
    config.write_text(text.replace(f"{server.directory}/run", f"{server.directory}/elsewhere"))
    try:
        program = [sys.executable, "-m", "penstock.penstockd", "check", "--config", str(config)]
        done = subprocess.run(
            [*program, "--against-running"], capture_output=True, text=True, check=False
        )
    finally:
        config.unlink()
    assert done.returncode == 1
    assert " are good: " in done.stdout
    # It is there, and is asked elsewhere; as a reload says it.
    assert f"a penstockd runs (process {server.process.pid} holds " in done.stderr
    assert "is asked in the run_dir with which it was started" in done.stderr
