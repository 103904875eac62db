"""Which client has which user: the table on the disk, and what is given out of it."""

import os
import select
import signal
import time
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import patient, slowness

from penstock.policy.uid_range import UidRange, parse_uid_range
from penstock.supervisor.users import user_table
from penstock.supervisor.users.client_users import ClientUsers, NoUser
from penstock.supervisor.users.id_maps import IdMaps, parse_map
from penstock.supervisor.users.user_table import TableDamaged, UserTable, decode, encode

ALL = parse_map("         0          0 4294967295\n")
EVERYBODY = IdMaps(ALL, ALL)
TEN = UidRange(1000, 1009)


def opened(directory: Path, uids: UidRange = TEN, maps: IdMaps = EVERYBODY) -> ClientUsers:
    return ClientUsers(UserTable(str(directory)), uids, maps)


def test_each_client_has_one_for_ever(tmp_path: Path) -> None:
    """The same after a restart, whoever has come or gone meanwhile; user and group are one id."""
    place = tmp_path / "root"
    users = opened(place)
    users.allocate(["bob", "alice"])
    given = {name: users.user_of(name) for name in ("alice", "bob")}
    assert given["bob"][:2] == (1000, 1000)
    assert given["alice"][:2] == (1001, 1001)
    again = opened(place)
    assert again.user_of("carol").uid == 1002
    assert {name: again.user_of(name) for name in given} == given
    assert len(opened(place)) == 3
    assert (place.stat().st_mode & 0o777, (place / user_table.NAME).stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )
    assert [path.name for path in place.iterdir()] == [user_table.NAME]


def test_another_range_and_back(tmp_path: Path) -> None:
    """A client has a new id in a new range, and the old one again in the old range; an id stays
    whose it was."""
    opened(tmp_path).allocate(["alice", "bob"])
    other = opened(tmp_path, UidRange(1001, 1005))
    assert other.user_of("carol").uid == 1002  # 1001 is bob's
    assert other.user_of("alice").uid == 1003
    assert other.user_of("bob").uid == 1001
    assert opened(tmp_path).user_of("alice").uid == 1000


def test_a_range_that_is_used_up(tmp_path: Path) -> None:
    """Who has one keeps it; who is new gets none, and is told what can be done."""
    users = opened(tmp_path, UidRange(7, 8))
    with pytest.raises(NoUser, match=r"job_uids: .*'c'.*all of 7-8 are given.*name a range"):
        users.allocate(["a", "b", "c"])
    assert [users.user_of(name).uid for name in "ab"] == [7, 8]
    again = opened(tmp_path, UidRange(7, 8))
    with pytest.raises(NoUser, match="job_uids"):
        again.user_of("c")
    assert again.missing(["a", "c"]).startswith("job_uids: none is left for client 'c'")
    assert again.missing(["a", "b"]) == ""
    assert again.never("abc") == {"c": again.missing(["c"])}
    # Of these, c may have one, and has none yet.
    assert opened(tmp_path, UidRange(7, 9)).never("ac") == {}


def test_many_without_a_user_cost_one_look_at_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload asks for all clients at once, in the supervisor's loop."""
    asked = 0
    has = IdMaps.has

    def counted(maps: IdMaps, number: int) -> bool:
        nonlocal asked
        asked += 1
        return has(maps, number)

    users = opened(tmp_path, UidRange(1, 200))
    names = [f"c{number}" for number in range(400)]
    with pytest.raises(NoUser):
        users.allocate(names)
    monkeypatch.setattr(IdMaps, "has", counted)
    assert list(users.never(names)) == names[200:]
    assert asked <= 2 * len(names)


def test_ids_that_the_namespace_lacks(tmp_path: Path) -> None:
    """They are not given; and a client that has such a one is refused, with the remedy."""
    users = IdMaps(parse_map("0 100000 1003\n1005 7 2\n"), parse_map("0 0 5000"))
    some = opened(tmp_path, maps=users)
    some.allocate("abcde")
    assert [some.user_of(name).uid for name in "abcde"] == [1000, 1001, 1002, 1005, 1006]
    with pytest.raises(NoUser, match="all of 1000-1009"):
        some.user_of("f")
    none = IdMaps(parse_map("0 100000 1000\n"), ALL)
    fewer = opened(tmp_path, maps=none)
    with pytest.raises(
        NoUser, match=r"1000, which is that of client 'a', is not mapped.*uid_map.*name"
    ):
        fewer.user_of("a")
    with pytest.raises(NoUser, match=r"maps none of 1000-1009.*containers; name a range"):
        fewer.user_of("z")
    assert "not mapped" in fewer.missing(["a"])
    assert "not mapped" in fewer.never("a")["a"]
    # By group alone, too.
    with pytest.raises(NoUser, match="gid_map"):
        opened(tmp_path, maps=IdMaps(ALL, none.users)).user_of("a")


CLIENT = st.text(max_size=20)


@given(st.dictionaries(st.integers(1, 2**32 - 2), CLIENT, max_size=8))
def test_what_is_written_is_read(entries: dict[int, str]) -> None:
    """Any clients, in their order."""
    assert decode(encode(list(entries.items()))) == list(entries.items())


def test_damage_at_any_byte(tmp_path: Path) -> None:
    """A file that was cut, or has another byte, is refused by name, or says the same still."""
    entries = [(1000, "alice"), (1001, "bob")]
    data = encode(entries)
    for at in range(len(data)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]):
            try:
                assert decode(damaged) == entries, damaged
            except ValueError:
                continue
    path = tmp_path / user_table.NAME
    path.write_bytes(data.replace(b"bob", b"eve"))
    path.chmod(0o600)
    with pytest.raises(
        TableDamaged,
        match=r"supervisor_dir: .*client-users.json is damaged: .*"
        "SHA-256.*put a copy of it back",
    ):
        opened(tmp_path)


def digest(users: str) -> str:
    return user_table._digest(literal_eval(users))


@pytest.mark.parametrize(
    "body",
    [
        "[]", "null", "{}", "[" * 100_000, '{"version": 2}', '{"version": 1, "users": {}}',
        *(
            f'{{"version": 1, "users": {users}, "sha256": "{digest(users)}"}}'
            for users in ("[[1]]", "[1]", "[['1', 'a']]", "[[1, 2]]", "[[1, 'a'], [1, 'b']]",
                          "[[True, 'a']]")
        ),
    ],
)  # fmt: skip
def test_forms_that_are_no_table(body: str) -> None:
    """Whatever their digest says."""
    with pytest.raises(ValueError, match=r"."):
        decode(body.replace("'", '"').replace("True", "true").encode())


def failing(
    monkeypatch: pytest.MonkeyPatch, at: int, calls: list[str], names: tuple[str, ...]
) -> None:
    """The n-th of these calls fails; all are noted."""

    def instead(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **more: Any) -> Any:
            calls.append(name)
            if len(calls) == at:
                raise OSError(5, "Input/output error")
            return real(*arguments, **more)

        return act

    for name in names:
        monkeypatch.setattr(os, name, instead(name, getattr(os, name)))


STEPS = ("mkdir", "open", "fsync", "rename", "unlink", "listdir")


def test_a_write_that_fails_or_ends_at_any_step(tmp_path: Path) -> None:
    """What is read then is the table before or the whole new one, and the next write works."""
    before, after = [(1, "a")], [(1, "a"), (2, "b")]
    last = 0
    for at in range(1, 30):
        table = UserTable(str(tmp_path / str(at)))
        table.write(before)
        calls: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            failing(patch, at, calls, STEPS)
            try:
                table._replace(encode(after))
                last = at
            except OSError:
                pass
        assert table.read() in (before, after)
        table.write([*after, (3, "c")])
        assert table.read() == [*after, (3, "c")]
        assert os.listdir(tmp_path / str(at)) == [user_table.NAME]
        if last:
            break
    assert last > 5
    # Content before name, name before it is called done.
    order = [name for name in calls if name in ("fsync", "rename")]
    assert order == ["fsync", "rename", "fsync", "fsync"]


def test_a_disk_that_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait has a bound. What was chosen is kept for that client, and written later."""
    users = opened(tmp_path)
    users.allocate(["a"])
    never, end = os.pipe()
    with monkeypatch.context() as patch:
        patch.setattr(user_table, "WRITE_S", 0.05)
        patch.setattr(UserTable, "_replace", lambda *_: select.select([never], [], []))
        patch.setattr(os, "closerange", lambda *_: None)
        began = time.monotonic()
        with pytest.raises(NoUser, match="the disk does not answer") as caught:
            users.user_of("b")
        assert time.monotonic() - began < patient(1) * slowness()
        assert str(tmp_path) not in caught.value.public
        with pytest.raises(NoUser):  # nothing is started under an id that may be forgotten
            users.user_of("b")
    os.close(never)
    os.close(end)
    assert users.user_of("c").uid == 1002
    assert users.user_of("b").uid == 1001
    assert opened(tmp_path).user_of("b").uid == 1001


def test_whoever_writes_ends_with_the_supervisor(tmp_path: Path) -> None:
    """A write that went on would put an older table in the place of that of the next life, and an
    id would be given twice."""
    told, tell = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        table = UserTable(str(tmp_path))

        def stand_still(*_: object) -> None:
            os.write(tell, str(os.getpid()).encode())
            signal.pause()

        table._replace = stand_still  # type: ignore[method-assign, assignment]
        os.closerange = lambda *_: None
        table.write([(1, "a")])
        os._exit(0)
    try:
        writer = os.pidfd_open(int(os.read(told, 20)))
    finally:
        os.kill(supervisor, signal.SIGKILL)
        os.waitpid(supervisor, 0)
    assert select.select([writer], [], [], patient(5))[0]
    for fd in (writer, told, tell):
        os.close(fd)


@pytest.mark.parametrize("wrong", ["link", "readable", "directory"])
def test_a_table_that_is_not_ours_alone(tmp_path: Path, wrong: str) -> None:
    """Whoever else could change it would say whose user a client has."""
    opened(tmp_path).allocate(["alice"])
    path = tmp_path / user_table.NAME
    if wrong == "link":
        path.rename(tmp_path / "other")
        path.symlink_to("other")
    elif wrong == "readable":
        path.chmod(0o664)
    else:
        path.unlink()
        path.mkdir()
    expected = "not penstockd's user's alone" if wrong == "readable" else "no regular file"
    with pytest.raises(TableDamaged, match=expected):
        opened(tmp_path)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """The refusal says which file and why."""
    (tmp_path / "file").symlink_to(tmp_path / "nowhere")
    with pytest.raises(NoUser, match=r"supervisor_dir: .*No such file or directory"):
        opened(tmp_path / "file" / "root").user_of("a")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("1-2", None),
        ("1879200000-1879265535", None),
        ("4294967294-4294967294", None),
        ("65536-70000", None),
        ("0-5", "has root"),
        ("5-4", "ends before"),
        ("5", "is no range"),
        ("-5", "is no range"),
        ("1-2-3", "is no range"),
        ("1 - 2", "is no range"),
        ("٣-٤", "is no range"),
        ("65530-65534", "65534"),
        ("65535-65535", "65535"),
        ("100000-4294967295", "beyond"),
    ],
)
def test_ranges(text: str, wrong: str | None) -> None:
    """First and last id, neither root's nor any that the kernel uses for nobody."""
    if wrong is None:
        assert str(parse_uid_range(text)) == text
    else:
        with pytest.raises(ValueError, match=wrong):
            parse_uid_range(text)


def test_ids_in_a_range() -> None:
    """Both ends are in it, and nothing else is."""
    assert [number in TEN for number in (999, 1000, 1009, 1010)] == [False, True, True, False]
    assert "1000" not in TEN
    assert list(TEN.ids()) == list(range(1000, 1010))
