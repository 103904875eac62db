"""``reload = "auto"``, with a clock, files and reloads that are told what to do."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import penstock.supervisor.file_looks as looking
from penstock.policy.configuration import parse_config
from penstock.supervisor.file_looks import (
    AGAIN_S,
    FIT_S,
    LOOK_S,
    STILL_S,
    FileLooks,
    files_of,
    looked_at,
    named_now,
)
from penstock.supervisor.kernel.loop import Loop
from penstock.supervisor.reload_sides import OnAnswer, ReloadAnswer

CONFIG = parse_config(
    b'policy = "/p"\nreload = "auto"\n[tls]\ncertificate = "/c"\nkey = "/k"\nclient_ca = "/a"\n'
)
TAKEN = ReloadAnswer(generation="g")
BY_SERVER = ReloadAnswer(("the key does not fit",), by_server=True)
BY_SUPERVISOR = ReloadAnswer(("/p:1: no",))


class World:
    """``file`` is what the files are now, ``answer`` what the next reloads answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.config = CONFIG
        self.file: object = 1
        self.answer = TAKEN
        self.asked: list[tuple[float, bool]] = []
        self.looks: list[float] = []
        self.said: list[str] = []
        self._next: tuple[float, Callable[[], None]] | None = None
        monkeypatch.setattr(looking, "log", self.said.append)
        FileLooks(cast(Loop, self), lambda: ("/penstockd.toml", self.config), self.look, self.ask)

    def after(self, seconds: float, callback: Callable[[], None]) -> Any:
        assert self._next is None
        self._next = self.now + seconds, callback

    def look(self, paths: Sequence[str], on_looked: Callable[[Any], None]) -> None:
        assert paths == ["/penstockd.toml", "/p", "/c", "/k", "/a"]
        self.looks.append(self.now)
        on_looked(self.file if isinstance(self.file, str) else {"/c": self.file})

    def ask(self, asked_by: str, on_answer: OnAnswer, may_pass: bool) -> None:
        assert asked_by == 'reload = "auto"'
        self.asked.append((self.now, may_pass))
        on_answer(self.answer)

    def passes(self, seconds: float) -> None:
        end = self.now + seconds
        while self._next is not None and self._next[0] <= end:
            (self.now, callback), self._next = self._next, None
            callback()
        self.now = end


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_what_has_changed_is_taken_up_once_it_stays_the_same(world: World) -> None:
    """The file is written in pieces over some seconds; it is asked for once."""
    world.passes(1)
    assert world.looks == [0]
    for piece in (2, 3, 4):
        world.file = piece
        world.passes(STILL_S)
    assert world.asked == []
    world.passes(LOOK_S + STILL_S)
    assert [may_pass for _, may_pass in world.asked] == [True]
    assert world.asked[0][0] < 1 + 3 * STILL_S + LOOK_S + STILL_S
    world.passes(100)
    assert len(world.asked) == 1
    world.file = 1
    world.passes(LOOK_S + STILL_S)
    assert len(world.asked) == 2


def test_a_change_that_is_undone_is_none(world: World) -> None:
    world.passes(1)
    world.file = 2
    world.passes(LOOK_S)
    world.file = 1
    world.passes(100)
    assert len(world.asked) == 0


def test_files_that_do_not_fit_are_tried_for_a_minute(world: World) -> None:
    """Then once more, which is said; and not again before something changes."""
    world.passes(1)
    world.file, world.answer = 2, BY_SERVER
    world.passes(LOOK_S + STILL_S + FIT_S - 2)
    count = len(world.asked)
    assert count == FIT_S / LOOK_S
    assert all(may_pass for _, may_pass in world.asked)
    world.passes(LOOK_S)
    assert [may_pass for _, may_pass in world.asked[count:]] == [False]
    world.passes(1000)
    assert len(world.asked) == count + 1
    world.file = 3
    world.passes(LOOK_S + STILL_S)
    assert [may_pass for _, may_pass in world.asked[count + 1 :]] == [True]


def test_the_second_of_two_files_ends_the_waiting(world: World) -> None:
    """And has a minute of its own."""
    world.passes(1)
    world.file, world.answer = 2, BY_SERVER
    world.passes(FIT_S / 2)
    world.file, world.answer = 3, TAKEN
    count = len(world.asked)
    world.passes(LOOK_S + STILL_S)
    assert len(world.asked) == count + 1
    world.passes(1000)
    assert len(world.asked) == count + 1


def test_a_mistake_is_not_repeated(world: World) -> None:
    """One of the supervisor's does not pass by itself: it was said, and the file must change."""
    world.passes(1)
    world.file, world.answer = 2, BY_SUPERVISOR
    world.passes(1000)
    assert len(world.asked) == 1


def test_what_is_not_the_files_fault_is_tried_again(world: World) -> None:
    """A server that stands still as a certificate is renewed; what was renewed must come in."""
    world.passes(1)
    world.file, world.answer = 2, ReloadAnswer(("the server did not say",), passing=True)
    world.passes(LOOK_S + STILL_S + 3 * AGAIN_S)
    count = len(world.asked)
    assert count in (3, 4)
    world.answer = TAKEN
    world.passes(1000)
    assert len(world.asked) == count + 1


def test_by_default_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a reload has switched it on; what has changed before is not asked for then."""
    world = World(monkeypatch)
    world.config = replace(CONFIG, reload="off")
    world.passes(100)
    assert world.looks == []
    world.file, world.config = 2, CONFIG
    world.passes(100)
    assert world.looks
    assert world.asked == []
    world.config = replace(CONFIG, reload="off")
    world.file = 3
    world.passes(100)
    assert world.asked == []


def test_a_disk_that_stands_still_is_named_once(world: World) -> None:
    """The files are looked at again all the same."""
    world.file = "it took more than 4 s"
    world.passes(100)
    assert world.said == ['reload = "auto": the files cannot be looked at: it took more than 4 s']
    world.file = 1
    world.passes(LOOK_S)
    world.file = 2
    world.passes(LOOK_S + STILL_S)
    assert len(world.asked) == 1


def test_files_that_the_configuration_names_by_now_are_looked_at(tmp_path: Path) -> None:
    """The one that it does not fit yet may be one that nothing in force names: it is mended there,
    and nobody would notice."""
    config = tmp_path / "penstockd.toml"
    assert named_now([str(config), "/p"]) == [str(config), "/p"]
    config.write_text('policy = "/other"\nnonsense = 1\n[tls]\nkey = "/k"\n')
    found = named_now([str(config), "/p", "/c"])
    assert found[:3] == [str(config), "/p", "/c"]
    assert {"/other", "/k"} <= set(found)
    assert len(set(found)) == len(found)
    config.write_text("no toml [")
    assert named_now([str(config), "/p"])[:2] == [str(config), "/p"]


def test_another_file_another_content_and_no_file_are_seen(tmp_path: Path) -> None:
    """By its name, through links, as programs put them there."""
    file, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(file)
    missing = looked_at([str(link)])
    file.write_text("one")
    first = looked_at([str(link)])
    (tmp_path / "new").write_text("one")
    (tmp_path / "new").rename(file)
    second = looked_at([str(link)])
    assert len({str(each) for each in (missing, first, second)}) == 3
    assert looked_at([str(link)]) == second
    assert files_of("/x", replace(CONFIG, tls_crl="/l"))[-1] == "/l"
