"""Roots of path arguments, the rights they are resolved with, and files as they were checked."""

import ctypes
import grp
import os
import pwd
import shutil
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from this_run import new_directory

from penstock.supervisor.files.directory_writers import (
    Trusted,
    _why_fuse,
    mount_of,
    trusted_owner,
    why_foreign_mount,
)
from penstock.supervisor.files.executables import open_executable
from penstock.supervisor.files.file_access import files_as
from penstock.supervisor.files.path_arguments import PathRefused, check_root, resolve
from penstock.supervisor.users.user_names import User

USER = User(61191, 61191)
OWNERS = frozenset({0, os.geteuid()})
STRANGER = 61199


def mistakes(root: Path) -> str:
    return "; ".join(check_root(str(root)))


def test_a_root_that_nobody_else_can_change(tmp_path: Path) -> None:
    """It is taken, and resolved; below a sticky directory too."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").touch()
    tmp_path.chmod(0o1777)
    assert mistakes(tmp_path / "root") == ""
    assert resolve(str(tmp_path / "root"), "file") == f"{tmp_path}/root/file"


def test_roots_that_others_can_change(tmp_path: Path) -> None:
    """By writing to it, by replacing it or what is above, or by a link."""
    root = tmp_path / "above" / "root"
    root.mkdir(parents=True)
    (root.parent).chmod(0o777)
    assert f"{root.parent} can be written by everybody" in mistakes(root)
    (root.parent).chmod(0o755)
    for mode in (0o777, 0o1777):
        root.chmod(mode)
        assert f"{root} can be written by everybody" in mistakes(root)
    root.chmod(0o755)
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "way").symlink_to(root.parent)
    for path in (tmp_path / "link", tmp_path / "way" / "root"):
        assert f"write {root}" in mistakes(path)
    (root / "file").touch()
    assert "no directory" in mistakes(root / "file")
    assert "No such file" in mistakes(root / "none")


def test_a_root_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    """It was a directory when it was checked."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").touch()
    (tmp_path / "root").symlink_to("other")
    with pytest.raises(PathRefused, match="root is a symbolic link"):
        resolve(str(tmp_path / "root"), "secret")


@pytest.fixture
def open_path(tmp_path: Path) -> Iterator[Path]:
    """A directory that other users can come to."""
    path = new_directory("paths")
    yield path
    shutil.rmtree(path)


@pytest.mark.root
def test_a_refusal_tells_nothing_that_the_user_could_not_see(open_path: Path) -> None:
    """What is in a directory of root's and what is not are the same."""
    closed = open_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "there").touch()
    (closed / "link").symlink_to("there")
    texts = set()
    for name in ("there", "link", "none"):
        with pytest.raises(PathRefused) as caught:
            resolve(str(open_path), f"closed/{name}", USER)
        texts.add(str(caught.value).replace(name, "@"))
    assert texts == {f"{closed}/@: Permission denied"}
    closed.chmod(0o711)
    assert resolve(str(open_path), "closed/there", USER) == f"{closed}/there"


@pytest.mark.root
@pytest.mark.parametrize("who", [USER.uid, STRANGER])
def test_a_directory_that_somebody_else_can_write_is_no_way(open_path: Path, who: int) -> None:
    """By owner, who could make it writable, by mode, group or access list; the job's own user and
    any other. As the last part it is granted: it is itself that was meant."""
    ways = {
        "owner": (0o555, who, 0, b""),
        "group": (0o775, 0, who, b""),
        "roots-group": (0o775, 0, 0, b""),
        "everybody": (0o757, 0, 0, b""),
        "sticky": (0o1777, 0, 0, b""),
        "acl-user": (0o775, 0, 0, access_list((0x02, 7, who))),
        "acl-group": (0o775, 0, 0, access_list((0x08, 7, who))),
    }
    for name, (mode, uid, gid, acl) in ways.items():
        path = open_path / name
        (path / "inner").mkdir(parents=True)
        (path / "file").touch()
        os.chown(path, uid, gid)
        path.chmod(mode)
        if acl:
            os.setxattr(path, "system.posix_acl_access", acl)
        assert resolve(str(open_path), name, USER) == str(path)
        for below in ("file", "inner/none"):
            with pytest.raises(PathRefused, match=f"{path} (belongs to|can be written by) "):
                resolve(str(open_path), f"{name}/{below}", USER)
        assert mistakes(path), "nor is it a root"
        # The root itself is on the way, though nothing below it is asked for.
        with pytest.raises(PathRefused, match=str(path)):
            resolve(str(path), ".", USER)


@pytest.mark.root
def test_owners_that_the_slot_names(open_path: Path) -> None:
    """They may own what is on the way, and be in its access list; nobody else with them."""
    path = open_path / "own"
    path.mkdir(mode=0o755)
    (path / "file").touch()
    os.chown(path, STRANGER, STRANGER)
    owners = [trusted_owner(str(STRANGER))]
    assert resolve(str(open_path), "own/file", USER, owners) == f"{path}/file"
    assert check_root(str(path), owners) == []
    path.chmod(0o775)  # its group may have other members
    with pytest.raises(PathRefused, match=f"can be written by group {STRANGER}"):
        resolve(str(open_path), "own/file", USER, owners)
    os.setxattr(path, "system.posix_acl_access", access_list((0x02, 7, STRANGER), group=5))
    assert resolve(str(open_path), "own/file", USER, owners) == f"{path}/file"
    # What the mask takes away nobody has.
    masked = access_list((0x02, 7, USER.uid), mask=5)
    os.setxattr(path, "system.posix_acl_access", masked)
    assert resolve(str(open_path), "own/file", USER, owners) == f"{path}/file"
    with pytest.raises(PathRefused, match=f"belongs to user {STRANGER}"):
        resolve(str(open_path), "own/file", USER)


@pytest.mark.root
def test_a_group_of_the_owner_alone(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may write, as nobody else is in it: neither by passwd nor by group."""
    path = open_path / "lent"
    path.mkdir()
    (path / "file").touch()
    os.chown(path, 0, STRANGER)
    path.chmod(0o775)
    users = [("root", 0, 0), ("log", STRANGER, STRANGER), ("mallory", 61198, 61198)]
    members: list[str] = []

    def entries() -> list[pwd.struct_passwd]:
        return [
            pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/false"))
            for name, uid, gid in users
        ]

    monkeypatch.setattr("pwd.getpwall", entries)
    monkeypatch.setattr("pwd.getpwnam", lambda name: entries()[1])
    monkeypatch.setattr(
        "grp.getgrgid", lambda gid: grp.struct_group(("log", "x", gid, list(members)))
    )
    for inside in ([], ["log"], ["log", "root"]):
        members[:] = inside
        assert resolve(str(open_path), "lent/file", USER, [trusted_owner("log")])
    more = ("eve", 61197, STRANGER)
    for inside, extra in ((["mallory"], []), (["of-another-directory"], []), ([], [more])):
        members[:] = inside
        users[3:] = extra
        with pytest.raises(PathRefused, match=f"can be written by group {STRANGER}"):
            resolve(str(open_path), "lent/file", USER, [trusted_owner("log")])


@pytest.mark.root
def test_what_is_above_the_root_is_looked_at_each_time(open_path: Path) -> None:
    """It was another's as the policy was read, or has become so since."""
    root = open_path / "above" / "root"
    root.mkdir(parents=True)
    (root / "file").touch()
    assert resolve(str(root), "file", USER) == f"{root}/file"
    os.chown(root.parent, STRANGER, STRANGER)
    with pytest.raises(PathRefused, match=f"{root.parent} belongs to user {STRANGER}"):
        resolve(str(root), "file", USER)
    os.chown(root.parent, 0, 0)
    # In a sticky directory of root's nobody can replace what is not his.
    root.parent.chmod(0o1777)
    assert resolve(str(root), "file", USER) == f"{root}/file"
    os.chown(root.parent, STRANGER, 0)
    with pytest.raises(PathRefused, match="belongs to user"):
        resolve(str(root), "file", USER)


def access_list(*more: tuple[int, int, int], group: int = 5, mask: int = 7) -> bytes:
    """In the kernel's form: owner, group and others, the entries, and the mask."""
    nobody = 0xFFFFFFFF
    fixed = [(0x01, 7, nobody), (0x04, group, nobody), (0x10, mask, nobody), (0x20, 5, nobody)]
    entries = sorted([*fixed, *more])
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_a_file_system_that_somebody_elses_process_serves() -> None:
    """By the text of mountinfo: FUSE shows any owner and mode that its process likes."""
    trusted = Trusted(frozenset({0, 7}))
    for kind, options, foreign in (
        ("fuse.sshfs", "rw,user_id=1000,group_id=1000", True),
        ("fuse", "rw,user_id=1000,group_id=1000,allow_other", True),
        ("fuse.overlay", "rw,user_id=0,group_id=0", False),
        ("fuseblk", "rw,user_id=7", False),
        ("ext4", "rw,user_id=1000", False),
    ):
        assert bool(_why_fuse(kind, options.split(","), trusted)) is foreign
    with open("/proc/self/mountinfo") as mounts:
        assert any(line.split()[0] == mount_of(mounts.fileno()) for line in mounts)
    assert why_foreign_mount("none", trusted) is None


@pytest.mark.root
def test_all_rights_come_back() -> None:
    """Groups, capabilities, and the signal for the parent's death, which the kernel forgets."""
    libc = ctypes.CDLL(None)
    libc.prctl(1, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    try:
        before = os.getgroups(), Path("/proc/self/status").read_text().split("CapEff:")[1]
        with files_as(USER):
            assert os.getgroups() == []
            with pytest.raises(PermissionError):
                os.listdir("/root")
        after = os.getgroups(), Path("/proc/self/status").read_text().split("CapEff:")[1]
        assert before[0] == after[0]
        assert before[1].split()[0] == after[1].split()[0]
        number = ctypes.c_int()
        libc.prctl(2, ctypes.byref(number), 0, 0, 0)
        assert number.value == signal.SIGTERM
    finally:
        libc.prctl(1, ctypes.c_ulong(0), 0, 0, 0)


def test_an_executable_that_was_changed_in_place_is_another(tmp_path: Path) -> None:
    """Written to, with its size and times as before; given away; or given other rights."""
    path = tmp_path / "program"
    for change in (_rewrite, _give_away, lambda path: path.chmod(0o555)):
        shutil.copy("/bin/true", path)
        path.chmod(0o755)
        executable = open_executable(str(path), OWNERS)
        try:
            assert executable.is_current()
            change(path)
            assert not executable.is_current()
        finally:
            executable.close()
        path.unlink()


def _rewrite(path: Path) -> None:
    status = path.stat()
    # The kernel stamps files by a clock of a few milliseconds.
    probe = path.with_name("probe")
    probe.touch()
    while probe.stat().st_ctime_ns <= status.st_ctime_ns:
        probe.touch()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"EVIL")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _give_away(path: Path) -> None:
    os.chown(path, USER.uid if os.geteuid() == 0 else -1, -1)


@pytest.mark.parametrize(
    ("relative", "text"),
    [
        ("../file", "leaves"),
        ("inner/../../file", "leaves"),
        ("a\0b", "leaves"),
        ("link", "is a symbolic link, which is not followed"),
        ("link/file", "is a symbolic link, which is not followed"),
        ("missing", "missing: No such file or directory"),
        ("file/more", "more: Not a directory"),
    ],
)
def test_paths_that_are_not_beneath_their_root(tmp_path: Path, relative: str, text: str) -> None:
    """By their text, by a link, or as there is nothing; which of it is said."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "inner")
    with pytest.raises(PathRefused, match=text):
        resolve(str(tmp_path), relative)
    assert resolve(str(tmp_path), "./inner//") == f"{tmp_path}/inner"
    assert resolve(str(tmp_path), "") == str(tmp_path)
