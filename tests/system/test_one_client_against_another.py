"""What jobs of one client can do to those of another, tried one by one: docs/security.md has it."""

import contextlib
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import supervisor_process
from attempts import PROGRAM
from supervisor_peer import Peer, Started
from supervisor_process import running_supervisor
from this_run import job_uids, process_mark, visible_directory

pytestmark = pytest.mark.root

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "security.md"


def sample(extra: str) -> str:
    """The packaged policy for root with one command more, for alice and bob."""
    text = (files("penstock") / "policies" / "sample-root.toml").read_text()
    number = "{ int = { min = 0, max = 9223372036854775807 } }"
    program = PROGRAM.replace("@mark", process_mark())
    added = (
        f'[commands.attempts]\npath = "/usr/bin/python3"\nclass = "large"\n{extra}'
        f"fixed = ['-I', '-c', '''{program}''']\n"
        f"arguments = [{number}, {{ optional = [{number}, {number}, {number}, "
        '{ pattern = "[-a-z0-9/_]{1,200}" }] }]\n'
    )
    for client in ("alice", "bob"):
        before = f"[clients.{client}]\ncommands = ["
        assert before in text
        text = text.replace(before, f'{before}"attempts", ')
    return text + added


def outcome(peer: Peer) -> dict[str, str]:
    """The attempts of bob's job against alice's, of one command: "" or an error's name."""
    victim = peer.start("attempts", "0", client="alice")
    about = json.loads(victim.read(until=b"\n"))
    # By the number outside, which is what the attacker would see of it.
    where = (victim.pid, about["address"], about["uid"], about["port"])
    attacker = peer.start("attempts", *map(str, where), about["cwd"], client="bob")
    text = attacker.read()
    exited, _ = peer.end(attacker)
    assert exited["status"] == 0, attacker.read("stderr").decode()
    found: dict[str, str] = json.loads(text)
    found["ended"] = "" if _has_ended(peer, victim) else "-"
    return found


@contextlib.contextmanager
def work_root() -> Iterator[Path]:
    """Where jobs see it: what is below /var/tmp they do not."""
    path = visible_directory("jobs")
    path.chmod(0o711)
    try:
        yield path
    finally:
        path.rmdir()


def _has_ended(peer: Peer, victim: Started) -> bool:
    """By bob's hand: what ends it otherwise is ours."""
    peer.send("KILL", id=victim.id)
    exited, _ = peer.end(victim)
    return bool(exited["status"] != 9)


def table() -> dict[str, tuple[str, str, str]]:
    """Rows of the table of docs/security.md by the attempts that they name."""
    section = DOCS.read_text().split("## One client's jobs and another's")[1].split("\n## ")[0]
    found = {}
    entry = r"^- \*\*(\w+), (\w+), (\w+)\*\*: (.*?)\n(?=- |\n)"
    entries = re.findall(entry, section, re.MULTILINE | re.DOTALL)
    for *columns, text in entries:
        _, tried, names = " ".join(text.split()).partition(" Tried as ")
        assert tried, text
        for name in re.findall(r"`([^`]+)`", names):
            assert name not in found, name
            found[name] = (columns[0], columns[1], columns[2])
    return found


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(0, id="own"),
        pytest.param(1, id="shared", marks=pytest.mark.slow),
        pytest.param(2, id="shared-pid-namespace", marks=pytest.mark.slow),
    ],
)
def test_it_is_as_the_docs_say(column: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt by every way to have users, under the sample policy."""
    monkeypatch.setattr(supervisor_process, "CLASSES", "")  # the sample has its own
    # No other test's, because one attempt is a signal to everybody of that user.
    first, last = map(int, job_uids().split("-"))
    extra = ("", f'user = "{last}"\n', f'user = "{last}"\npid_namespace = true\n')[column]
    uids = f"{first}-{last - 1}"
    with (
        work_root() as work,
        running_supervisor(
            "", clients=sample(extra), work_root=str(work), job_uids=uids
        ) as supervisor,
        supervisor.connect() as peer,
    ):
        peer.hello()
        found = outcome(peer)
        shared = "share the user" in supervisor.log
    assert shared == (column == 1)
    said = {name: cells[column] for name, cells in table().items()}
    assert found.keys() == said.keys()
    wrong = {name: error for name, error in found.items() if (said[name] == "yes") != (not error)}
    assert not wrong
    assert set(said.values()) <= {"yes", "no"}


def test_nothing_that_needs_the_user_works_with_users_of_their_own() -> None:
    """What is left is what any user of a host may see of any other, and what hosts share."""
    left = {name for name, (own, _, _) in table().items() if own == "yes"}
    assert left == {
        *("cmdline", "status", "stat", "limits", "cgroup", "mountinfo", "affinity-read"),
        "priority-read",
        *("abstract-socket", "loopback", "flock"),
    }
