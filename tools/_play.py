"""The main job through the real CLI: what is typed, what comes back, and what must be so."""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from _env import Environment, clean_environ
from _server import Place, Unexpected

_COMMAND_TIMEOUT_S = 300.0
# A tick takes a second.
_TICKS_A_COMMAND = 10
_MOST_TICKS = 60
DENIED, NOT_FOUND = 5, 4


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str


class Stage:
    """Types commands as one client or another, and shows them with their output."""

    def __init__(self, place: Place, environment: Environment) -> None:
        self.place = place
        self._program = str(environment.script("penstock"))

    def say(self, text: str) -> None:
        print(f"\n# {text}", flush=True)

    def type(self, client: str, *words: str, status: int = 0) -> Answer:
        """Runs ``penstock`` and shows all of it. Raises Unexpected for another exit status."""
        print(f"{client}$ penstock {' '.join(words)}", flush=True)
        answer = self.ask(client, *words)
        sys.stdout.write(answer.out + answer.err)
        if answer.status != 0:
            print(f"[exit status {answer.status}]")
        sys.stdout.flush()
        expect(answer.status == status, f"exit status {answer.status} instead of {status}")
        return answer

    def ask(self, client: str, *words: str) -> Answer:
        """Runs ``penstock`` without showing it."""
        done = subprocess.run(
            [self._program, *words],
            cwd=self.place.directory,
            env={**clean_environ(), **self.place.environ(client)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def ask_json(self, client: str, *words: str) -> Any:
        answer = self.ask(client, "-o", "json", *words)
        expect(answer.status == 0, f"penstock {' '.join(words)}: {answer.err}")
        return json.loads(answer.out)

    def begin(self, client: str, *words: str, shown: str = "", **streams: Any) -> Any:
        """Starts ``penstock`` beside the others; its standard output goes where ``streams`` say."""
        print(f"{client}$ penstock {' '.join(words)}{shown}", flush=True)
        return subprocess.Popen(
            [self._program, *words],
            cwd=self.place.directory,
            env={**clean_environ(), **self.place.environ(client)},
            stdin=subprocess.DEVNULL,
            **streams,
        )

    def start(self, client: str, *words: str) -> str:
        """Starts a job and returns its handle."""
        return self.type(client, "start", *words).out.rpartition("PID: ")[2].strip()


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise Unexpected(what)


# No command of the sample policy asks for these.
_NOT_ASKED_FOR = ("isolation.network", "isolation.pid", "isolation.landlock")


def unenforced(stage: Stage) -> list[str]:
    """The limits that this machine cannot hold a job to, and isolation that each command has."""
    limits = stage.ask_json("alice", "version").get("limits", [])
    missing = [entry["limit"] for entry in limits if entry["state"] == "unavailable"]
    return [limit for limit in missing if limit not in _NOT_ASKED_FOR]


def play(stage: Stage) -> None:
    """The whole job. Raises Unexpected at the first thing that is not as it must be."""
    stage.say("What the server is, and what limits this machine enforces")
    began = time.monotonic()
    stage.type("alice", "version")
    # It has to run still when three more commands have been typed, on a busy machine too.
    ticks = max(5, round(_TICKS_A_COMMAND * (time.monotonic() - began)))

    stage.say("A command that the policy grants to alice")
    handle = stage.start("alice", "ticker", str(min(ticks, _MOST_TICKS)))
    running = stage.type("alice", "status", handle)
    expect(f"Job {handle} is running." in running.out, "the job does not run")
    show_streams(stage, handle)
    ended = stage.type("alice", "status", handle)
    expect(f"Job {handle} exited with code 0." in ended.out, "the job has not exited with 0")

    stage.say("A command, and an argument, that the policy does not grant")
    stage.type("bob", "start", "tail", "-f", "/var/log/dpkg.log", status=DENIED)
    stage.type("alice", "start", "ls", "/etc", status=DENIED)

    stage.say("Another client's job is as unknown as one that never was")
    foreign = stage.type("bob", "status", handle, status=NOT_FOUND)
    unknown = stage.type("bob", "status", "1", status=NOT_FOUND)
    same = foreign.err == unknown.err.replace("Job 1 ", f"Job {handle} ")
    expect(same, "the two answers differ")

    show_stop(stage)
    stage.say("What alice has run")
    listed = stage.type("alice", "list", "--all")
    expect(handle in listed.out, "the first job is not listed")


def show_streams(stage: Stage, handle: str) -> None:
    """Three readers at once, of which two count bytes; the end record says what they must be."""
    stage.say("Its output, followed by three clients at the same time, from the first byte")
    with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second:
        copies = (first, second)
        counted = "  | sha256sum &"
        readers = [
            stage.begin("alice", "stream", "--raw", handle, shown=counted, stdout=copy)
            for copy in copies
        ]
        readers.append(stage.begin("alice", "stream", handle))
        try:
            deadline = time.monotonic() + _COMMAND_TIMEOUT_S
            for reader in reversed(readers):
                status = reader.wait(max(0.0, deadline - time.monotonic()))
                expect(status == 0, f"a stream ended with exit status {status}")
        finally:
            for reader in readers:
                reader.kill()
                reader.wait()
        sums = []
        for copy in copies:
            copy.seek(0)
            sums.append(hashlib.file_digest(copy, "sha256").hexdigest())
            print(f"{sums[-1]}  -", flush=True)
    end = stage.ask_json("alice", "status", handle)["job"]["end"]
    print(f"# the server's end record says: {end['output_bytes']} bytes, {end['output_sha256']}")
    expect(set(sums) == {end["output_sha256"]}, "the readers have read something else")


def show_stop(stage: Stage) -> None:
    stage.say("A command that takes all the CPU it can get, two seconds later, and its end")
    handle = stage.start("alice", "burn")
    # Usage is counted from one sample to the next; this one is where the two seconds begin.
    stage.ask("alice", "status", handle)
    time.sleep(2)
    stage.type("alice", "status", handle)
    stopped = stage.type("alice", "stop", handle)
    expect(f"Job {handle} successfully stopped!" in stopped.out, "the job was not stopped")
    ended = stage.type("alice", "status", handle)
    expect(f"Job {handle} was stopped by alice." in ended.out, "it does not say who stopped it")
