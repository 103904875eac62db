"""The server's end of a reload, over a socket whose other end is in the test's hands."""

import os
from collections.abc import Sequence
from typing import Any

import trio.testing
from supervisor_end import Supervisor, connected

from penstock.jobs.backends.local import LocalBackend
from penstock.jobs.backends.reloads import OfferedGeneration
from penstock.supervisor.ipc import protocol
from penstock.supervisor.ipc.reload_messages import MOST_TEXTS, Abandon, Prepared, Switch, few_texts

SWITCH: dict[str, Any] = {
    "number": 1,
    "max_jobs": 3,
    "warnings": ["w"],
    "userless": {"bob": "none is left"},
    "changes": ["client bob is new"],
}


def memory_file(data: bytes) -> int:
    fd = os.memfd_create("bytes")
    os.write(fd, data)
    return fd


async def offer(supervisor: Supervisor, number: int = 1, generation: str = "g1") -> None:
    fds = [memory_file(b"the policy"), memory_file(b"the configuration")]
    supervisor.say(
        "PREPARE",
        fds,
        number=number,
        generation=generation,
        policy="p1",
        settings='{"drain_s": 1}',
        asked_by="SIGHUP",
        fds=["policy", "configuration"],
    )
    await trio.testing.wait_all_tasks_blocked()


async def told(supervisor: Supervisor, kind: str, **fields: Any) -> None:
    supervisor.say(kind, **fields)
    await trio.testing.wait_all_tasks_blocked()


def remember(backend: LocalBackend, seen: list[Any]) -> None:
    """A server that notes what it is called with, and never says no by itself."""

    def on_switch(offered: OfferedGeneration, switch: Switch) -> Sequence[str]:
        seen.append((offered.about.number, switch.changes, backend.reloads.generation))
        return ["one connection has ended"]

    backend.reloads.on_prepare = seen.append
    backend.reloads.on_switch = on_switch
    backend.reloads.on_abandon = seen.append


async def test_what_is_offered_is_in_force_only_once_the_supervisor_has_switched() -> None:
    """By then all that WELCOME has told is that of the new files."""
    seen: list[Any] = []
    async with connected() as (backend, supervisor):
        remember(backend, seen)
        assert backend.reloads.generation == "h"  # of an earlier version: the policy's
        await offer(supervisor)
        (offered,) = seen
        assert (offered.policy, offered.configuration) == (b"the policy", b"the configuration")
        assert backend.reloads.generation == "h"
        backend.reloads.prepared(1, [], ["expires soon"])
        await trio.testing.wait_all_tasks_blocked()
        answer = supervisor.heard()
        assert answer == {
            "type": "PREPARED",
            "number": 1,
            "mistakes": [],
            "warnings": ["expires soon"],
        }
        await told(supervisor, "SWITCH", **SWITCH)
        assert seen[1:] == [(1, ("client bob is new",), "g1")]
        assert supervisor.heard()["changes"] == ["one connection has ended"]
        assert backend.userless == {"bob": "none is left"}
        assert backend.warnings == ["w"]
        about = backend.capabilities()
        assert (about["policy"], about["max_jobs"], about["settings"]) == (
            *("p1", 3),
            '{"drain_s": 1}',
        )


async def test_an_answer_to_what_is_not_offered_any_more_is_not_sent() -> None:
    """The supervisor has given it up, or offers other files by now."""
    seen: list[Any] = []
    async with connected() as (backend, supervisor):
        remember(backend, seen)
        await offer(supervisor, 1)
        await told(supervisor, "ABANDON", number=1, asked_by="SIGHUP", mistakes=["too late"])
        assert seen[1] == Abandon(1, "SIGHUP", ("too late",))
        backend.reloads.prepared(1)
        await offer(supervisor, 2, "g2")
        backend.reloads.prepared(1)
        backend.reloads.prepared(2)
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.heard()["number"] == 2


async def test_a_switch_to_what_was_not_offered_ends_the_connection() -> None:
    """Otherwise supervisor and server would decide by different files."""
    async with connected() as (backend, supervisor):
        await offer(supervisor, 1)
        await told(supervisor, "SWITCH", **SWITCH | {"number": 2})
        await backend.wait_closed()
        assert "SWITCH to 2, which was not offered" in backend.lost


async def test_a_program_that_takes_up_no_files_says_so() -> None:
    """Such as one that uses the job library."""
    async with connected() as (backend, supervisor):
        await offer(supervisor)
        (mistake,) = supervisor.heard()["mistakes"]
        assert "takes up no other files" in mistake
        assert backend.reloads.generation == "h"


async def test_files_that_did_not_arrive_are_a_mistake() -> None:
    """unix(7): descriptors for which the server has no room are cut off without an error."""
    async with connected() as (_, supervisor):
        about = {"number": 1, "generation": "g", "policy": "p", "settings": "{}", "asked_by": "a"}
        await told(supervisor, "PREPARE", **about, fds=["policy", "configuration"])
        (mistake,) = supervisor.heard()["mistakes"]
        assert "no free file descriptors" in mistake


def test_however_many_mistakes_there_are_a_message_holds_them() -> None:
    """The last says how many are not shown; a long one is cut off."""
    shown = few_texts(["x" * 9000] + ["y"] * 200)
    assert len(shown) == MOST_TEXTS
    assert len(shown[0]) == 500
    assert shown[-1].startswith("and 138 more")
    assert few_texts(["a", "b"]) == ("a", "b")


def test_texts_that_a_message_must_escape_fit_one_as_well() -> None:
    """A control character takes six bytes there, and a message has two such lists."""
    shown = few_texts(["\1" * 500] * MOST_TEXTS)
    assert shown[0] == "\1" * 500
    assert shown[-1].startswith(f"and {MOST_TEXTS - len(shown) + 1} more")
    assert len(protocol.encode(Prepared(1, shown, shown))) < protocol.MAX_MESSAGE_BYTES
