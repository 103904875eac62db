"""A signal while a passphrase is asked for ends the CLI, and leaves nothing behind."""

import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from patience import patient

from penstock.pki.issue import issue, make_ca

CLI = [sys.executable, "-m", "penstock.cli"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    make_ca(tmp_path)
    issue(tmp_path, "alice", passphrase=b"secret")
    return tmp_path


def environment(files: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PENSTOCK_ADDR": "127.0.0.1:1",
        "PENSTOCK_CA": str(files / "ca.crt"),
        "PENSTOCK_CERT": str(files / "alice.crt"),
        "PENSTOCK_KEY": str(files / "alice.key"),
    }


@pytest.mark.parametrize("verb", [pytest.param(["list"], marks=pytest.mark.slow), ["run", "ls"]])
def test_the_terminal_is_as_it_was(files: Path, verb: list[str]) -> None:
    """^C at the question: the echo is on again, and nothing was asked of the server."""
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *CLI, *verb],
        env=environment(files),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    seen = b""
    while b"Passphrase of" not in seen:
        seen += os.read(ours, 4096)
    assert not termios.tcgetattr(theirs)[3] & termios.ECHO  # it is off before the question
    os.write(ours, b"\x03")
    assert process.wait(patient(30)) == 128 + signal.SIGINT
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)
    assert b"Traceback" not in seen


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_pipe_that_says_nothing(files: Path, number: signal.Signals) -> None:
    """Such as of a program that asks somebody; no half of a certificate is left."""
    fifo = files / "pass"
    os.mkfifo(fifo, 0o600)
    process = subprocess.Popen(
        [*CLI, "certs", "issue", "--dir", str(files), "--passphrase-file", str(fifo), "bob"],
        env=environment(files),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with open(fifo, "wb"):  # it has opened the other end, and reads
        process.send_signal(number)
        out, said = process.communicate(timeout=patient(30))
    assert (process.returncode, out) == (128 + number, b"")
    assert b"Traceback" not in said
    assert not list(files.glob("bob.*"))
