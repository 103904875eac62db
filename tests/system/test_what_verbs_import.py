"""What each verb imports against a real server, when it succeeds and when it fails."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest
from patience import patient
from running import RunningServer, policy_text, running_server, script

from penstock.cli.verbs import VERBS

# Of the packages that can be installed, those that a client needs.
THEIRS = {"trio", "attr", "attrs", "outcome", "sniffio", "sortedcontainers", "idna"} | {
    *("google", "hpack", "asyncclick")
}
OF_TOP = {"rich"}
TOLD = """
import atexit, sys
told = sys.argv.pop(1)
atexit.register(lambda: open(told, "w").write("\\n".join(sys.modules)))
from penstock.cli import main
main()
"""
COMMANDS = script("stays", "sleep 300") + script("ends", "echo done")
CLIENTS = '[clients.alice]\ncommands = ["stays", "ends"]\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def imported(
    server: RunningServer,
    told: Path,
    words: Sequence[str],
    *,
    endless: bool = False,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, set[str]]:
    """The exit status of a command line, and every module that it has imported. An ``endless`` one
    is interrupted once it has printed a line."""
    known = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-c", TOLD, str(told), *words],
        env=server.environment("alice") | known | {**environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        if endless:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=patient(30))
    finally:
        process.kill()
        process.wait()
    return process.returncode, set(told.read_text().split())


@functools.cache
def of_python() -> set[str]:
    """What the installation imports as Python starts: sitecustomize, hooks of editable packages."""
    program = "import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return {*done.stdout.decode().split()}


def foreign(modules: set[str]) -> set[str]:
    """Packages that are neither of the standard library nor ours."""
    tops = {name.partition(".")[0] for name in modules - of_python()}
    return tops - sys.stdlib_module_names - {"penstock"}


# In this order, for JOB lives through them.
LINES = (
    *(("start ends", 0), ("start nonsense", 5), ("run ends", 0), ("run nonsense", 126)),
    *(("status JOB", 0), ("-o json status JOB", 0), ("status 1", 4), ("-o json status 1", 4)),
    *(("signal JOB WINCH", 0), ("signal JOB nonsense", 2), ("pause JOB", 0), ("resume JOB", 0)),
    *(("send JOB", 6), ("list", 0), ("ps -a", 0), ("rm JOB", 6), ("version", 0)),
    *(("whoami", 0), ("commands", 0), ("commands nonsense", 5), ("can start ends", 0)),
    *(("can start nonsense", 5), ("--addr 127.0.0.1:1 watch", 3), ("-o json list", 0)),
    *(("logs 1", 4), ("kill -WINCH JOB", 0), ("kill 1", 4), ("top", 0)),
    *(("stream --no-follow JOB", 0), ("stream 1", 4), ("attach 1", 127), ("wait 1", 127)),
    *(("stop 1", 4), ("stop JOB", 0), ("wait JOB", 143), ("rm JOB", 0)),
)


# A verb of each kind, because each line is a process: the others are tried by tools/test --all.
SOME = (*("start ends", "-o json status JOB", "stream --no-follow JOB", "stop JOB"),)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([(line, code) for line, code in LINES if line in SOME], id="some"),
        pytest.param(LINES, marks=pytest.mark.slow, id="all"),
    ],
)
def test_neither_purerpc_nor_cryptography_nor_asyncio(
    server: RunningServer, tmp_path: Path, lines: Sequence[tuple[str, int]]
) -> None:
    """Nor anything else of others than a client needs, in whatever it does for a verb."""
    assert len(lines) in (len(SOME), len(LINES))
    job = server.start("alice", "stays")
    codes, more = {}, {}
    for line, _ in lines:
        words = [job if word == "JOB" else word for word in line.split()]
        codes[line], modules = imported(server, tmp_path / "told", words)
        assert "penstock.client.client" in modules, line
        more[line] = foreign(modules) ^ (THEIRS | OF_TOP if line == "top" else THEIRS)
        more[line] |= modules & {"asyncio", "concurrent.futures", "multiprocessing"}
        if line.startswith(("can ", "top")):  # an error's details are judged; rich is there
            continue
        if "json" not in line:
            more[line] |= modules & {"json", "google.protobuf.json_format"}
        if codes[line] == 0:
            more[line] |= modules & {"google.rpc.status_pb2", "google.rpc.error_details_pb2"}
    assert codes == dict(lines)
    assert {line: names for line, names in more.items() if names} == {}


def test_a_watcher_needs_no_more(server: RunningServer, tmp_path: Path) -> None:
    """Until it is interrupted; no change has the number 0, which it says."""
    words = ["watch", "--after", "0"]
    code, modules = imported(server, tmp_path / "told", words, endless=True)
    assert code == 130
    assert foreign(modules) == THEIRS
    assert not {"json", "asyncio", "google.rpc.status_pb2"} & modules


def test_no_verb_is_left_out() -> None:
    """But for those that ask no server, which test_lazy_loading.py has, and certs, which needs
    cryptography."""
    tried = [VERBS[word] for line, _ in LINES for word in line.split() if word in VERBS]
    left = {name for name, verb in VERBS.items() if verb not in tried}
    assert left == {"agent", "certs", "completion", "context", "help", "schema"}


def test_a_failure_without_a_hint_loads_no_cryptography(
    server: RunningServer, tmp_path: Path
) -> None:
    """No server at the port; a file that is not there; a CA that is not the server's."""
    for changed, code in (
        ({"PENSTOCK_ADDR": "127.0.0.1:1"}, 3),
        ({"PENSTOCK_KEY": str(tmp_path / "none")}, 2),
        ({"PENSTOCK_CA": str(server.pki.clients["alice"].certificate)}, 3),
    ):
        words = ["--connect-timeout", "0", "list"]
        status, modules = imported(server, tmp_path / "told", words, environment=changed)
        assert status == code, changed
        assert foreign(modules) <= THEIRS, changed


def test_a_hint_about_a_certificate_loads_it(server: RunningServer, tmp_path: Path) -> None:
    """So the tests above see what they look for: the key of another certificate is told."""
    other = server.pki.clients["bob"].key
    changed = {"PENSTOCK_KEY": str(other)}
    status, modules = imported(server, tmp_path / "told", ["list"], environment=changed)
    assert status == 2
    assert foreign(modules) - THEIRS >= {"cryptography"}
