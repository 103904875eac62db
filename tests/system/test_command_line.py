"""The real CLI against a real server: its output to the letter, its exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from patience import patient
from running import RunningServer, policy_text, running_server, script

from penstock.policy.limit_classes import ISOLATION_NAMES, LIMIT_NAMES

COMMANDS = (
    script("idle", "sleep 300")
    + script("greet", "echo hello; echo problem >&2; exit 3")
    + script("ready", "echo ready; sleep 300")
    + script("escape", "printf '\\033]0;owned\\007\\n'")
    + script("spill", "head -c 300000 /dev/zero").replace(
        "class =", 'output = "128KiB"\nwhen_full = "drop_newest"\nclass ='
    )
    + '[commands.echo]\npath = "/bin/echo"\nclass = "free"\n@user\n'
    + 'arguments = [{repeat = {slot = {pattern = "[ -~]{0,20}"}, min = 0, max = 3}}]\n'
)
CLIENTS = """
[clients.alice]
commands = ["idle", "greet", "ready", "escape", "echo", "spill"]
[clients.bob]
commands = ["idle"]
"""
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def test_start_status_stop_to_the_letter(server: RunningServer) -> None:
    """The words and the table of the first page."""
    started = server.cli("alice", "start", "idle")
    match = re.fullmatch(r"Starting idle\.\.\.\nSuccess! PID: (\d+(?:\.\d+)?)\n", started.stdout)
    assert match, started.stdout
    pid = match[1]
    status = server.cli("alice", "status", pid)
    assert re.fullmatch(
        rf"Querying the status of {pid}\.\.\.\nJob {pid} is running\.\n\n={{25}}\n"
        r"\|CPU:      \| .{11}\|\n\|Memory:   \| .{11}\|\n\|Disk I/O: \| .{11}\|\n={25}\n",
        status.stdout,
    ), status.stdout
    stopped = server.cli("alice", "stop", pid)
    assert stopped.stdout == f"Stopping {pid}...\nJob {pid} successfully stopped!\n"
    again = server.cli("alice", "stop", pid)
    assert (again.returncode, again.stdout) == (
        0,
        f"Stopping {pid}...\nJob {pid} had already finished.\n",
    )
    assert f"Job {pid} was stopped by alice.\n" in server.cli("alice", "status", pid).stdout


def test_arguments_of_the_job_are_not_ours(server: RunningServer) -> None:
    """Options behind the command belong to it, empty ones too."""
    started = server.cli("alice", "start", "echo", "a b", "", "x")
    assert started.stdout.startswith("Starting echo with a b  x...\n")
    done = server.cli("alice", "run", "echo", "a b", "", "x")
    assert (done.stdout, done.returncode) == ("a b  x\n", 0)
    refused = server.cli("alice", "start", "echo", "--help")
    assert refused.returncode == 5
    assert "Usage" not in refused.stdout


def test_stream_to_the_letter(server: RunningServer) -> None:
    """Header, rule, first line, timestamps; the end goes to stderr."""
    pid = server.start("alice", "greet")
    done = server.cli("alice", "stream", pid)
    assert re.fullmatch(
        rf"Starting output stream for {pid}\.\.\.\n={{16}}\n{TIME} greet started\n"
        rf"(?:{TIME} (?:hello|problem)\n){{2}}",
        done.stdout,
    ), done.stdout
    assert (done.stderr, done.returncode) == ("The job exited with code 3.\n", 0)
    assert server.cli("alice", "stream", "--exit-code", pid).returncode == 3


def test_raw_keeps_the_streams_apart(server: RunningServer) -> None:
    """Exact bytes, each on its own descriptor."""
    pid = server.start("alice", "greet")
    done = server.cli("alice", "stream", "--raw", pid)
    assert (done.stdout, done.stderr) == ("hello\n", "problem\n")
    done = server.cli("alice", "stream", "--no-timestamps", pid)
    assert sorted(done.stdout.splitlines()[3:]) == ["hello", "problem"]


def test_run_and_wait_exit_as_the_job_does(server: RunningServer) -> None:
    """run passes output and code through; wait the code alone."""
    done = server.cli("alice", "run", "greet")
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "problem\n", 3)
    pid = server.start("alice", "greet")
    waited = server.cli("alice", "wait", pid)
    assert (waited.stdout, waited.returncode) == (f"Job {pid} exited with code 3.\n", 3)
    assert server.cli("alice", "run", "rm").returncode == 126


def test_a_list_shows_what_was_typed(server: RunningServer) -> None:
    """Not the words of the policy, which are in argv; a name in the place of the PID everywhere."""
    server.cli("alice", "run", "--name", "typed", "echo", "a b", "")
    server.cli("alice", "run", "--name", "fixed", "greet")
    typed, fixed = (
        server.cli("alice", "list", "-a", "--name", name).stdout.splitlines()[1].split(None, 6)[2:]
        for name in ("typed", "fixed")
    )
    assert [typed[:2], typed[-1]] == [["exited", "0"], "echo 'a b' ''"]
    assert [fixed[:2], fixed[-1]] == [["exited", "3"], "greet"]
    status = json.loads(server.cli("alice", "-o", "json", "status", "fixed").stdout)["job"]
    assert status["argv"][1] == "-c"
    assert status["given"] == {}
    assert server.cli("alice", "wait", "fixed").returncode == 3


def test_errors_to_the_letter(server: RunningServer) -> None:
    """On stderr, with the documented exit codes."""
    pid = server.start("alice", "idle")
    for who, handle in (("bob", pid), ("alice", "1")):
        done = server.cli(who, "status", handle)
        assert (done.stderr, done.returncode) == (f"Error: Job {handle} not found\n", 4)
        done = server.cli(who, "stream", handle)
        assert (done.stderr, done.returncode) == (f"Error: Job {handle} not found\nExit 4\n", 4)
    denied = server.cli("bob", "start", "greet")
    assert denied.stderr == "Error: command 'greet' is not granted to bob; granted: idle\n"
    assert denied.returncode == 5
    server.cli("alice", "stop", pid)


def test_an_unreachable_server_is_exit_3(server: RunningServer) -> None:
    """Stop says which job it could not stop."""
    environment = server.environment("alice") | {"PENSTOCK_ADDR": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-m", "penstock.cli", "stop", "7", "--connect-timeout", "0.2"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert done.returncode == 3
    text = "127.0.0.1 port 1: Connection refused; tried for 0.2 s"
    assert done.stderr == f"Error: 7 could not be stopped. {text}\n"


@pytest.mark.slow
def test_the_wrong_server_is_told_nothing(server: RunningServer) -> None:
    """A server whose certificate is of another CA, or of another name: exit 3."""
    for change in (
        {"PENSTOCK_CA": str(server.pki.other_authority.certificate)},
        {"PENSTOCK_ADDR": f"127.0.0.2:{server.port}"},
    ):
        done = subprocess.run(
            [sys.executable, "-m", "penstock.cli", "list"],
            env=server.environment("alice") | change,
            capture_output=True,
            text=True,
            timeout=patient(30),
            check=False,
        )
        assert done.returncode == 3, done.stderr


def test_json_is_json(server: RunningServer) -> None:
    """One object a line, named as in the proto."""
    started = json.loads(server.cli("alice", "-o", "json", "start", "greet").stdout)
    pid = started["handle"]
    lines = server.cli("alice", "-o", "json", "stream", pid).stdout.splitlines()
    messages = [json.loads(line) for line in lines]
    assert messages[0]["job"]["handle"] == pid
    assert messages[-1]["finished"]["exit_code"] == 3
    for verb in ("status", "stop", "wait"):  # behind the verb, too
        answer = json.loads(server.cli("alice", verb, "-o", "json", pid).stdout)
        assert pid in json.dumps(answer)
    job = json.loads(server.cli("alice", "start", "-o", "json", "echo", "x").stdout)
    assert job["argv"][-1] == "x"
    # Behind the command it is the command's, whose policy refuses it.
    assert server.cli("alice", "start", "echo", "-o", "json").returncode == 5
    info = json.loads(server.cli("alice", "-o", "json", "version").stdout)
    assert info["client_id"] == "alice"
    assert {entry["limit"] for entry in info["limits"]} == {*LIMIT_NAMES, *ISOLATION_NAMES}
    assert info["lag"]["worst_s"] >= info["lag"]["recent_worst_s"] > 0
    assert int(info["lag"]["turns"]) > 0
    text = server.cli("alice", "version").stdout
    assert "longest turn of the event loop: " in text
    names = {entry["limit"] for entry in json.loads(
        server.cli("alice", "status", "-o", "json", pid).stdout
    )["job"]["enforcement"]}  # fmt: skip
    # What is had on request alone, and nobody has asked for, is not told of a job.
    unasked = {"isolation.network", "isolation.pid", "isolation.landlock"}
    assert names >= set(ISOLATION_NAMES) - unasked


def test_a_closed_stdout_is_a_clean_end(server: RunningServer) -> None:
    """As with head: no traceback, exit 0."""
    pid = server.start("alice", "greet")
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", "stream", pid],
        env=server.environment("alice"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert b"Traceback" not in process.stderr.read()
    assert process.wait(30) == 0


def test_a_closed_stdout_keeps_no_job_from_being_started_or_stopped(server: RunningServer) -> None:
    """The handle is on stderr then."""

    def unread(*arguments: str) -> subprocess.CompletedProcess[str]:
        ours, theirs = os.pipe()
        os.close(ours)
        try:
            return subprocess.run(
                [sys.executable, "-m", "penstock.cli", *arguments],
                env=server.environment("alice"),
                stdout=theirs,
                stderr=subprocess.PIPE,
                text=True,
                timeout=patient(30),
                check=False,
            )
        finally:
            os.close(theirs)

    started = unread("start", "idle")
    match = re.fullmatch(r"Job (\d+(?:\.\d+)?) was started; .*Broken pipe\n", started.stderr)
    assert match, started.stderr
    stopped = unread("stop", match[1])
    assert (started.returncode, stopped.returncode, stopped.stderr) == (0, 0, "")
    assert "was stopped by alice" in server.cli("alice", "status", match[1]).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_run_stops_its_job(server: RunningServer, number: signal.Signals) -> None:
    """And exits as the job did, which TERM has ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", "run", "ready"],
        env=server.environment("alice"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=patient(30))
    match = re.search(r"Stopping (\S+);", errors)
    assert match, errors
    assert process.returncode == 128 + signal.SIGTERM
    assert "was stopped by alice" in server.cli("alice", "status", match[1]).stdout


def test_output_that_the_policys_own_bound_has_dropped_is_no_success(
    server: RunningServer,
) -> None:
    """Row 79: all that is kept is printed, and the status is not the job's."""
    done = server.cli("alice", "run", "spill")
    assert done.returncode == 125, done.stderr
    assert 0 < len(done.stdout) < 300_000
    missing = 300_000 - len(done.stdout)
    assert f"Error: {missing} bytes are missing in the output" in done.stderr
    done = server.cli("alice", "run", "--allow-gaps", "spill")
    assert (done.returncode, "Error" in done.stderr) == (0, False)


def test_control_bytes_are_harmless_on_a_terminal_and_exact_elsewhere(
    server: RunningServer,
) -> None:
    """Through a pseudo-terminal the escape is text."""
    import pty

    pid = server.start("alice", "escape")
    assert "\x1b]0;owned\x07" in server.cli("alice", "stream", "--raw", pid).stdout
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", "stream", pid],
        env=server.environment("alice"),
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:
        pass  # EIO: the other side is closed
    os.close(ours)
    assert process.wait(30) == 0
    assert b"\\x1b]0;owned\\x07" in shown
    assert b"\x1b" not in shown


def test_who_we_are_and_what_we_may_do(server: RunningServer) -> None:
    """whoami, commands and can start, of the policy that the server has read."""
    who = json.loads(server.cli("bob", "-o", "json", "whoami").stdout)
    assert (who["client_id"], who["command_count"]) == ("bob", 1)
    assert "commands" not in who
    certificate = x509.load_pem_x509_certificate(server.pki.clients["bob"].certificate.read_bytes())
    assert who["certificate"]["serial"] == format(certificate.serial_number, "x")
    assert who["certificate"]["fingerprint"] == certificate.fingerprint(hashes.SHA256()).hex()
    end_s = certificate.not_valid_after_utc.timestamp()
    assert int(who["certificate"]["not_after_ns"]) == int(end_s) * 10**9
    used = {each["name"]: int(each.get("used", 0)) for each in who["quotas"]}
    pid = server.start("bob", "idle")
    now = json.loads(server.cli("bob", "-o", "json", "whoami").stdout)["quotas"]
    after = {each["name"]: int(each.get("used", 0)) for each in now}
    assert after["max_running"] == used["max_running"] + 1
    assert after["starts_per_minute"] == used["starts_per_minute"] + 1
    server.cli("bob", "stop", pid)
    assert server.cli("bob", "whoami").stdout.startswith("bob\ncertificate: serial ")
    assert server.cli("alice", "commands", "-q").stdout.split() == sorted(
        ["idle", "greet", "ready", "escape", "echo", "spill"]
    )
    usage = server.cli("alice", "commands", "echo").stdout.splitlines()
    assert usage[:2] == ["echo TEXT{0,3}", "  TEXT: a text that matches [ -~]{0,20}"]
    assert server.cli("bob", "commands", "echo").returncode == 5


def test_what_may_be_started_is_what_can_start_says(server: RunningServer) -> None:
    """The same words, exit status and no job, either way."""
    before = server.cli("alice", "list", "-aq").stdout
    for words in (
        ["echo", "a"],
        ["echo", "--help"],
        ["echo", "a", "b", "c", "d"],
        ["nonsense"],
        ["-e", "A=1", "echo"],
        ["-e", "1=1", "echo"],
    ):
        asked = server.cli("alice", "can", "start", *words)
        assert server.cli("alice", "list", "-aq").stdout == before
        if asked.returncode == 0:
            assert (asked.stdout, asked.stderr) == ("yes\n", "")
            continue
        assert asked.stdout == "no\n"
        refused = server.cli("alice", "start", *words)
        assert refused.returncode == asked.returncode
        error, *rule = asked.stderr.splitlines()
        assert refused.stderr.splitlines() == [error]
        assert (len(rule) == 1) == (asked.returncode == 5)
    said = json.loads(server.cli("alice", "-o", "json", "can", "start", "echo", "--help").stdout)
    assert said["rule"] == "commands.echo.arguments"
