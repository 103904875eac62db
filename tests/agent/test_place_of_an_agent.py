"""Where an agent listens: for its user alone, one at a time, and never on what was there before."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import agent_place

from penstock.agent import agent_locks
from penstock.agent.agent_address import (
    MOST_AGENTS,
    AgentAddress,
    Listening,
    PlaceError,
    PlaceTaken,
    peer_uid,
)

KIND = "0123abcd"


@pytest.fixture
def runtime() -> Iterator[Path]:
    with agent_place() as place:
        yield place.runtime


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_it_is_its_users_alone(runtime: Path) -> None:
    """Whatever the umask: the directory 0700, the socket 0600."""
    before = os.umask(0)
    try:
        place = AgentAddress(str(runtime), "prod", KIND)
        listening = Listening(place)
        listening.listen()
        assert (mode(place.directory), mode(place.socket), mode(place.lock)) == (
            *(0o700, 0o600, 0o600),
        )
        assert os.umask(0) == 0
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(place.socket))
            assert peer_uid(link) == os.geteuid()
        listening.leave()
    finally:
        os.umask(before)
    assert not place.socket.exists()
    listening.leave()  # once more does nothing


def test_a_directory_that_others_can_enter_is_refused(runtime: Path) -> None:
    (runtime / "penstock").mkdir()
    (runtime / "penstock").chmod(0o755)
    with pytest.raises(PlaceError, match=r"0755.*chmod 700"):
        Listening(AgentAddress(str(runtime), "default", KIND))


@pytest.mark.root
def test_a_directory_of_another_user_is_refused(runtime: Path) -> None:
    (runtime / "penstock").mkdir(mode=0o700)
    os.chown(runtime / "penstock", 65530, 65530)
    with pytest.raises(PlaceError, match="not a directory of this user"):
        Listening(AgentAddress(str(runtime), "default", KIND))


def test_a_link_in_place_of_the_directory_is_refused(runtime: Path, tmp_path: Path) -> None:
    (runtime / "penstock").symlink_to(tmp_path)
    with pytest.raises(PlaceError, match="not a directory"):
        Listening(AgentAddress(str(runtime), "default", KIND))


def test_of_two_at_once_one_is_left(runtime: Path) -> None:
    """The other takes nothing of it away."""
    place = AgentAddress(str(runtime), "default", KIND)
    first = Listening(place)
    with pytest.raises(PlaceError, match="another agent"):
        Listening(place)
    first.listen()
    with pytest.raises(PlaceError, match="another agent"):
        Listening(place)
    assert first.in_place
    other = Listening(AgentAddress(str(runtime), "prod", KIND))  # another context's is its own
    other.leave()
    first.leave()
    again = Listening(place)
    again.leave()


def test_the_socket_of_one_that_was_killed_is_replaced(runtime: Path) -> None:
    place = AgentAddress(str(runtime), "default", KIND)
    place.make_directory()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place.socket))
    listening = Listening(place)
    listening.listen()
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(place.socket))
    listening.leave()


def test_one_that_was_pushed_aside_leaves_the_others_socket(runtime: Path) -> None:
    """As after the user's directory was emptied and made again."""
    place = AgentAddress(str(runtime), "default", KIND)
    listening = Listening(place)
    listening.listen()
    place.socket.unlink()
    assert not listening.in_place
    place.socket.touch()
    assert not listening.in_place
    listening.leave()
    assert place.socket.exists()


@pytest.mark.parametrize("directory", ["", "run", "./x"])
def test_without_a_directory_of_the_users_there_is_none(directory: str) -> None:
    with pytest.raises(PlaceError, match="XDG_RUNTIME_DIR"):
        AgentAddress(directory, "default", KIND)


def test_a_path_that_no_socket_can_have_is_named() -> None:
    most = 107 - len(f"/penstock/agent-default~{KIND}.sock")
    AgentAddress(f"/{'x' * (most - 1)}", "default", KIND)
    with pytest.raises(PlaceError, match="XDG_RUNTIME_DIR to a shorter"):
        AgentAddress(f"/{'x' * most}", "default", KIND)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 64, "a b", "ä"])
def test_names_are_those_of_contexts(runtime: Path, name: str) -> None:
    with pytest.raises(PlaceError, match="no name of a context"):
        AgentAddress(str(runtime), name, KIND)


def test_a_kind_is_a_short_number(runtime: Path) -> None:
    for kind in ("", "0123abcg", "0123abcd0", "../12345"):
        with pytest.raises(PlaceError, match="no kind"):
            AgentAddress(str(runtime), "default", kind)


def test_how_many_there_are_has_a_bound(runtime: Path) -> None:
    """Whatever context and kind they are of; one that ends makes room for another."""
    living = [
        Listening(AgentAddress(str(runtime), f"context-{number % 2}", f"{number:08x}"))
        for number in range(MOST_AGENTS)
    ]
    more = AgentAddress(str(runtime), "default", KIND)
    with pytest.raises(PlaceError, match=f"{MOST_AGENTS} agents run"):
        Listening(more)
    assert not more.lock.exists()
    with pytest.raises(PlaceTaken):  # that is said first
        Listening(AgentAddress(str(runtime), "context-0", "00000000"))
    living.pop().leave()
    living.append(Listening(more))
    for each in living:
        each.leave()


def test_what_agents_left_that_were_killed_is_removed(runtime: Path) -> None:
    """As one begins: sockets and locks at once, what went wrong after an hour; and nothing of one
    that lives, or of others."""
    alive = AgentAddress(str(runtime), "default", "00000001")
    listening = Listening(alive)
    listening.listen()
    dead = AgentAddress(str(runtime), "default", "00000002")
    for path in (dead.socket, dead.lock, dead.log, alive.log, dead.directory / "other.lock"):
        path.touch()
    os.utime(dead.log, (1, 1))
    Listening(AgentAddress(str(runtime), "default", KIND)).leave()
    assert [path.exists() for path in (dead.socket, dead.lock, dead.log)] == [False] * 3
    assert [path.exists() for path in (alive.socket, alive.lock, alive.log)] == [True] * 3
    assert (dead.directory / "other.lock").exists()
    assert listening.in_place
    listening.leave()


def test_agents_of_a_context_are_found_whatever_their_kind(runtime: Path) -> None:
    """Not those of another context, and not what is no socket of an agent."""
    own = AgentAddress(str(runtime), "lab", KIND)
    own.make_directory()
    others = ("lab~00000001", "lab~xyz", "lab~00000002~00000003", "lab2~00000004", "x-lab~00000005")
    for name in others:
        (own.directory / f"agent-{name}.sock").touch()
    found = own.of_every_kind()
    assert [(each.name, each.kind) for each in found] == [("lab", KIND), ("lab", "00000001")]
    assert found[0] is own


def test_one_that_stands_still_as_it_begins_has_a_bound(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are told so, and do not wait for it for ever."""
    monkeypatch.setattr(agent_locks, "_WAIT_S", 0.05)
    place = AgentAddress(str(runtime), "default", KIND)
    place.make_directory()
    with agent_locks.AgentLocks(place.directory):
        with pytest.raises(PlaceError, match="has been beginning"):
            Listening(place)
    Listening(place).leave()
