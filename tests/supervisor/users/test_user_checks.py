"""Users and groups of a policy's commands: what is refused, and where clients share one."""

import grp
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from penstock.policy.group_policy import check_groups, forbidden_groups
from penstock.policy.policy_file import Policy, PolicyError, parse_policy, read_policy
from penstock.policy.uid_range import JobIds, UidRange
from penstock.supervisor.files.writable_places import check_writable
from penstock.supervisor.users import accounts
from penstock.supervisor.users.accounts import Account, entries, others_in
from penstock.supervisor.users.command_user_checks import check_mode
from penstock.supervisor.users.user_checks import find_users, new_users, shared_user_warnings
from penstock.supervisor.users.user_names import User, UserError

UIDS = UidRange(5000, 5009)


def policy(commands: dict[str, str], clients: Mapping[str, Sequence[str]] | None = None) -> Policy:
    text = "[classes.c]\n"
    for name, keys in commands.items():
        text += f'[commands.{name}]\npath = "/bin/x"\nclass = "c"\n{keys}\n'
    for name, granted in (clients or {}).items():
        text += f"[clients.{name}]\ncommands = {list(granted)}\n".replace("'", '"')
    return parse_policy(text.encode())


NAMES = {"job": 7, "x": 7, "other": 8}


def resolve(name: str) -> tuple[int, int]:
    if name not in NAMES and not name.isdigit():
        raise UserError(name)
    uid = NAMES.get(name) or int(name)
    return uid, uid


ALONE = 'pid_namespace = true\nuser = "job"'


@pytest.mark.parametrize(
    ("commands", "clients", "warned"),
    [
        ({"a": 'user = "job"'}, {"alice": "a", "bob": "a"}, "alice, bob share the user 'job' in a"),
        ({"a": 'user = "job"', "b": 'user = "x"'}, {"alice": "a", "bob": "b"}, "in a, b"),
        ({"a": 'user = "job"', "b": 'user = "7"'}, {"alice": "a", "bob": "b"}, "in a, b"),
        ({"a": ALONE, "b": 'user = "job"'}, {"alice": "a", "bob": "b"}, "in b,"),
        ({"a": ALONE, "b": ALONE}, {"alice": "a", "bob": "b"}, ""),
        ({"a": 'user = "job"', "b": 'user = "other"'}, {"alice": "a", "bob": "b"}, ""),
        ({"a": 'user = "job"', "b": 'user = "job"'}, {"alice": "ab"}, ""),
        ({"a": "", "b": 'user = "auto"'}, {"alice": "ab", "bob": "ab"}, ""),
        ({"a": 'user = "ghost"'}, {"alice": "a", "bob": "a"}, ""),
        ({"a": 'user = "job"'}, dict.fromkeys("uvwxyz", "a"), "u, v, w, x and 2 more share"),
    ],
)
def test_users_that_clients_share(
    commands: dict[str, str], clients: dict[str, str], warned: str
) -> None:
    """Said once a user, whatever it is called, unless no job sees another; what to do is last."""
    found = shared_user_warnings(policy(commands, clients), resolve)
    assert len(found) == bool(warned), found
    if warned:
        assert warned in found[0]
        assert found[0].startswith("commands.")
        assert "leave 'user' out" in found[0].rpartition("; ")[2]


def test_which_clients_need_a_user() -> None:
    """Those that are granted a command without a user of its own, in a fixed order."""
    clients = {"zoe": "a", "bob": "b", "al": "ab", "eve": ""}
    assert new_users(policy({"a": "", "b": 'user = "job"'}, clients)) == ["al", "zoe"]


def test_groups_that_no_job_may_have() -> None:
    """Root's, the server's, those that make root, and clients' own; by name and by number."""
    known = {"root": 0, "docker": 900, "srv": 901, "adm": 4, "mine": 5003}
    forbidden = {0: "is root's", 900: "is 'docker'", 901: "is the server's"}

    def number(name: str) -> int:
        return int(name) if name.isdigit() else known[name]

    names = '["root", "docker", "900", "srv", "mine", "ghost", "adm", "0", "5009"]'
    mistakes, found = check_groups(
        policy({"x": f"groups = {names}", "y": 'groups = ["adm", "77"]', "z": ""}),
        forbidden=forbidden, allocated=UIDS, resolve=number,
    )  # fmt: skip
    wrong = {text.split("'")[1] for text in mistakes}
    assert wrong == {"root", "docker", "900", "srv", "mine", "ghost", "0", "5009"}
    assert all(text.startswith("commands.x.groups: ") for text in mistakes)
    assert found["y"] == (4, 77)
    assert "z" not in found


def test_what_is_forbidden_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the ids that this host gives to the names; root's always."""
    gids = {"disk": 6, "docker": 123, "shadow": 42}

    def known(name: str) -> grp.struct_group:
        return grp.struct_group((name, "x", gids[name], []))

    monkeypatch.setattr(grp, "getgrnam", known)
    assert set(forbidden_groups()) == {0, *gids.values()}
    assert "'shadow'" in forbidden_groups()[42]


def test_a_group_that_is_none_is_one_mistake() -> None:
    """Not one of the file and one of this host."""
    text = '[classes.c]\n[commands.x]\nclass = "c"\npath = "/x"\ngroups = ["a b", "adm"]\n'
    found, mistakes = read_policy(text.encode())
    assert len(mistakes) == 1
    assert found.commands["x"].groups == ("adm",)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [('groups = ["a b"]', "is no group"), (f"groups = {['g'] * 65}", "at most 64"),
     ("groups = [1]", "strings")],
)  # fmt: skip
def test_groups_that_are_none(text: str, mistake: str) -> None:
    """A policy is refused for them."""
    with pytest.raises(PolicyError, match=mistake):
        policy({"x": text.replace("'", '"')})


def test_named_users_and_the_range() -> None:
    """A named user is none of the clients' own, and in no forbidden group; groups need root."""
    users = {"in": (5000, 8), "group": (9, 5009), "disk": (9, 6), "good": (9, 9)}
    commands = {name: f'user = "{name}"' for name in users}

    def found(root: bool, **keys: str) -> list[str]:
        return check_mode(
            policy(keys or commands), root=root, server=(1, 1), resolve_user=users.__getitem__,
            uids=UIDS, forbidden={6: "is 'disk'"},
        )  # fmt: skip

    assert [text.split(":")[0] for text in found(True)] == [
        "commands.in.user", "commands.group.user", "commands.disk.user",
    ]  # fmt: skip
    assert "job_uids" in found(True)[0]
    assert found(True, x='groups = ["adm"]') == []
    assert "only root can give groups" in found(False, x='groups = ["adm"]')[0]


def test_all_of_the_range_counts_as_jobs() -> None:
    """Whoever of its ids owns or may write what is above a place, named users as well."""
    found = find_users(policy({"x": ""}), UIDS, User(1, 1), root=False)
    assert 5009 in found.user_ids(UIDS)
    assert 5009 in found.group_ids(User(1, 1), UIDS)
    assert 1 in found.group_ids(User(1, 1), UIDS)
    assert 0 not in found.group_ids(User(1, 0), UIDS)
    both = JobIds(frozenset({7, 8}), UIDS)
    others = both.without(7)
    assert [number in others for number in (7, 8, 5000, 5010)] == [False, True, True, False]


@pytest.mark.root
def test_a_writable_place_that_others_can_replace(tmp_path: Path) -> None:
    """By owner, group or everybody, of anything above it; sticky directories will do."""
    above = tmp_path / "above"
    place = above / "place"
    place.mkdir(parents=True)
    ids = JobIds(frozenset({7}), UIDS)
    for owner, group, mode, wrong in (
        (0, 0, 0o755, False), (5000, 0, 0o755, True), (7, 0, 0o755, True), (33, 0, 0o755, False),
        (0, 5009, 0o775, True), (0, 5009, 0o755, False), (0, 0, 0o777, True), (0, 0, 0o1777, False),
    ):  # fmt: skip
        os.chown(above, owner, group)
        above.chmod(mode)
        assert bool(check_writable(str(place), ids, ids)) == wrong, (owner, group, oct(mode))
    os.chown(above, 0, 0)
    above.chmod(0o755)
    for tag, number, mask, wrong in (
        (2, 5003, 7, True), (8, 5003, 7, True), (2, 5003, 5, False), (2, 4000, 7, False),
    ):  # fmt: skip
        nobody = 2**32 - 1
        entries = [(1, 7, nobody), (tag, 7, number), (4, 5, nobody), (16, mask, nobody)]
        entries = sorted([*entries, (32, 5, nobody)])
        packed = b"".join(struct.pack("<HHI", *each) for each in entries)
        os.setxattr(above, "system.posix_acl_access", struct.pack("<I", 2) + packed)
        assert bool(check_writable(str(place), ids, ids)) == wrong, (tag, number, mask)
    os.removexattr(above, "system.posix_acl_access")
    os.chown(place, 5000, 5000)
    assert check_writable(str(place), ids, ids) == []
    assert check_writable(str(tmp_path / "nowhere"), ids, ids) == []


def test_others_in_the_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts, groups and containers' ids are found; malformed lines are nobody's."""
    files = {
        "PASSWD": "root:x:0:0::/:\n+::::::\nx:x:y:z\nmallory:x:5003:100::/:/bin/sh\n",
        "GROUP": "wheel:x:10:\nmen:x:5009:\n",
        "sub": "al:100000:65536\nbob:4000:1001\nold:4000:1000\nodd:x:1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        if name != "sub":
            monkeypatch.setattr(accounts, name, str(tmp_path / name))
    monkeypatch.setattr(accounts, "_SUBORDINATE", (str(tmp_path / "sub"), str(tmp_path / "no")))
    (text,) = others_in(UIDS)
    assert text.startswith("job_uids: 5000-5009 is for clients alone, and 'mallory' of ")
    assert "is 5003" in text
    assert "'men'" in text
    assert "'bob' has 4000 and 1000 more" in text
    assert "old" not in text
    assert others_in(UidRange(6000, 6001)) == []


def test_lines_of_passwd_and_group() -> None:
    """One field more or another line can be made by nobody's id or directory."""
    user, account = User(5000, 5000, (4,)), Account("job5000", listed=False)
    passwd, group = entries(account, user, "spiffe://e.org/a:b\nroot", "/srv/a:b")
    assert passwd == (
        "/etc/passwd",
        b"job5000:x:5000:5000:penstock client spiffe_//e.org/a_b_root:/:/usr/sbin/nologin\n",
    )
    assert group == ("/etc/group", b"job5000:x:5000:\n")
    assert entries(Account("backup", listed=True), user, "a", "/") == ()
    assert entries(account, None, "a", "/") == ()
