"""Where an agent listens: for its user alone, one at a time, and never on what was there before."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import agent_place

from penstock.agent.agent_address import AgentAddress, Listening, PlaceError, peer_uid


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
        place = AgentAddress(str(runtime), "prod")
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
        Listening(AgentAddress(str(runtime), "default"))


@pytest.mark.root
def test_a_directory_of_another_user_is_refused(runtime: Path) -> None:
    (runtime / "penstock").mkdir(mode=0o700)
    os.chown(runtime / "penstock", 65530, 65530)
    with pytest.raises(PlaceError, match="not a directory of this user"):
        Listening(AgentAddress(str(runtime), "default"))


def test_a_link_in_place_of_the_directory_is_refused(runtime: Path, tmp_path: Path) -> None:
    (runtime / "penstock").symlink_to(tmp_path)
    with pytest.raises(PlaceError, match="not a directory"):
        Listening(AgentAddress(str(runtime), "default"))


def test_of_two_at_once_one_is_left(runtime: Path) -> None:
    """The other takes nothing of it away."""
    place = AgentAddress(str(runtime), "default")
    first = Listening(place)
    with pytest.raises(PlaceError, match="another agent"):
        Listening(place)
    first.listen()
    with pytest.raises(PlaceError, match="another agent"):
        Listening(place)
    assert first.in_place
    other = Listening(AgentAddress(str(runtime), "prod"))  # another context's is its own
    other.leave()
    first.leave()
    again = Listening(place)
    again.leave()


def test_the_socket_of_one_that_was_killed_is_replaced(runtime: Path) -> None:
    place = AgentAddress(str(runtime), "default")
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
    place = AgentAddress(str(runtime), "default")
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
        AgentAddress(directory, "default")


def test_a_path_that_no_socket_can_have_is_named() -> None:
    most = 107 - len("/penstock/agent-default.sock")
    AgentAddress(f"/{'x' * (most - 1)}", "default")
    with pytest.raises(PlaceError, match="XDG_RUNTIME_DIR to a shorter"):
        AgentAddress(f"/{'x' * most}", "default")


@pytest.mark.parametrize("name", ["", "a/b", "x" * 64, "a b", "ä"])
def test_names_are_those_of_contexts(runtime: Path, name: str) -> None:
    with pytest.raises(PlaceError, match="no name of a context"):
        AgentAddress(str(runtime), name)
