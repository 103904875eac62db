"""Changes of a checked place's files, harmless and harmful, that combine."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from checked_place import IS_ROOT, SERVER_UID, Place
from pki import make_authority

LS = 'path = "/bin/ls"\n'
SEQ = 'path = "/usr/bin/seq"\n'
SMALL = 'memory = "100MB"\n'


@dataclass(frozen=True)
class Change:
    """Of several at one ``spot`` only one can be made. ``harmful``: penstockd must not run."""

    name: str
    spot: str
    harmful: bool
    apply: Callable[[Place], object]

    def __repr__(self) -> str:
        return self.name


def more_of(line: str, text: str) -> Callable[[Place], object]:
    """Another key of a table of the policy, behind this line."""
    return lambda place: place.spoil(place.policy, line, line + at(place, text) + "\n")


def instead_of(line: str, text: str) -> Callable[[Place], object]:
    return lambda place: place.spoil(place.policy, line, at(place, text) + "\n")


def setting(key: str, value: str) -> Callable[[Place], object]:
    return lambda place: place.set(key, at(place, value))


def end_of_config(text: str) -> Callable[[Place], object]:
    def apply(place: Place) -> None:
        place.config.write_text(place.config.read_text() + at(place, text) + "\n")

    return apply


def at(place: Place, text: str) -> str:
    return text.replace("@dir", str(place.directory))


def both(*steps: Callable[[Place], object]) -> Callable[[Place], object]:
    def apply(place: Place) -> None:
        for step in steps:
            step(place)

    return apply


def directory(name: str, *, mode: int, uid: int = 0) -> Callable[[Place], object]:
    def apply(place: Place) -> None:
        path = place.directory / name
        path.mkdir()
        path.chmod(mode)
        if IS_ROOT:
            os.chown(path, uid, uid)

    return apply


def program(mode: int) -> Callable[[Place], object]:
    def apply(place: Place) -> None:
        shutil.copy("/bin/true", place.directory / "program")
        (place.directory / "program").chmod(mode)

    return apply


def closed_file(name: str) -> Callable[[Place], object]:
    """Root's alone; without root nobody's."""

    def apply(place: Place) -> None:
        (place.directory / name).write_text("")
        (place.directory / name).chmod(0o600 if IS_ROOT else 0)

    return apply


def closed_directory(name: str) -> Callable[[Place], object]:
    def apply(place: Place) -> None:
        (place.directory / name).mkdir()
        (place.directory / name).chmod(0o700 if IS_ROOT else 0o400)

    return apply


def crl(place: Place) -> None:
    path = place.pki.write_crl()
    place.config.write_text(place.config.read_text() + f'crl = "{path}"\n')


def crl_of_others(place: Place) -> None:
    path = place.directory / "other.pem"
    path.write_bytes(place.pki.other_authority.crl())
    place.config.write_text(place.config.read_text() + f'crl = "{path}"\n')


def other_ca(place: Place) -> None:
    folder = place.directory / "elsewhere"
    folder.mkdir(mode=0o755)
    place.set("client_ca", f'"{make_authority(folder, "another").certificate}"')


def link(place: Place, target: Path, name: str) -> None:
    (place.directory / name).symlink_to(target)


def change(name: str, spot: str, apply: Callable[[Place], object]) -> Change:
    return Change(name, spot, name not in HARMLESS, apply)


HARMLESS = {
    *("another client", "a timeout", "a workdir", "a linked program", "no limits", "two addresses"),
    *("a bound of transport", "a longer drain", "an audit log elsewhere", "a state that is there"),
    *("a list of revoked", "another CA", "a deeper run_dir", "a place to write", "a comment"),
}
CHANGES = [
    change("another client", "bob", more_of('[clients.bob]\n', "max_running = 3")),
    change("an unknown key", "bob", more_of('[clients.bob]\n', "max_runing = 3")),
    change("a wrong grant", "bob", instead_of('[clients.bob]\ncommands = ["seq"]\n',
                                              '[clients.bob]\ncommands = ["sleep"]')),
    change("a timeout", "seq", more_of(SEQ, 'timeout = "1h"\ndescription = "\u00e4"')),
    change("a wrong timeout", "seq", more_of(SEQ, 'timeout = "soon"')),
    change("a linked program", "seq", both(
        lambda place: link(place, Path("/usr/bin/seq"), "linked"),
        instead_of(SEQ, 'path = "@dir/linked"'))),
    change("no program", "seq", instead_of(SEQ, 'path = "/no/such"')),
    change("a program that others write", "seq", both(
        program(0o777), instead_of(SEQ, 'path = "@dir/program"'))),
    change("a program that does not run", "seq", both(
        program(0o644), instead_of(SEQ, 'path = "@dir/program"'))),
    change("a script", "seq", instead_of(SEQ, 'path = "/etc/profile"')),
    change("a workdir", "ls", more_of(LS, 'workdir = "@dir/data"')),
    change("no workdir", "ls", more_of(LS, 'workdir = "@dir/none"')),
    change("a place to write", "ls", more_of(LS, 'writable = ["@dir/data"]')),
    change("no place to write", "ls", more_of(LS, 'writable = ["@dir/none"]')),
    change("landlock of nothing", "ls", more_of(LS, 'landlock = { read = ["@dir/none"] }')),
    change("a user that is none", "ls", more_of(LS, 'user = "no-such-user"')),
    change("the user root", "ls", more_of(LS, 'user = "root"')) if IS_ROOT else
    change("another user", "ls", more_of(LS, 'user = "root"')),
    change("a group that is none", "ls", more_of(LS, 'groups = ["no-such-group"]')),
    change("a root that is none", "root", lambda place: (place.directory / "data").rmdir()),
    change("a root that is a link", "root", both(
        lambda place: (place.directory / "data").rmdir(),
        lambda place: link(place, Path("/usr/share"), "data"))),
    change("a root that others write", "root",
           lambda place: (place.directory / "data").chmod(0o777)),
    change("no limits", "class", instead_of(SMALL, 'cpu = "unlimited"')),
    change("a limit of nothing", "class", instead_of(SMALL, 'memory = "0MB"')),
    change("no such class", "class", lambda place: place.spoil(
        place.policy, "[classes.small]", "[classes.smaller]")),
    change("a comment", "head", lambda place: place.policy.write_text(
        "# \u00fc\n" + place.policy.read_text())),
    change("no TOML", "head", lambda place: place.policy.write_text(
        place.policy.read_text() + "[classes\n")),
    change("a policy that others write", "mode", lambda place: place.policy.chmod(0o666)),
    change("two addresses", "listen", setting("listen", '["127.0.0.1:0", "[::1]:0"]')),
    change("an address of others", "listen", setting("listen", '"192.0.2.1:0"')),
    change("no address", "listen", setting("listen", '"localhost"')),
    change("a longer drain", "drain", setting("drain_s", "7.5")),
    change("an endless drain", "drain", setting("drain_s", "inf")),
    change("an audit log elsewhere", "audit", setting("audit_log", '"@dir/audit.jsonl"')),
    change("an audit log nowhere", "audit", setting("audit_log", '"@dir/none/audit.jsonl"')),
    change("an audit log that is none", "audit", setting("audit_log", '"@dir/data"')),
    change("an audit log of others", "audit", both(
        closed_file("audit.jsonl"), setting("audit_log", '"@dir/audit.jsonl"'))),
    change("a state that cannot be reached", "state", both(
        closed_directory("closed"), setting("state_dir", '"@dir/closed/state"'))),
    change("a run_dir that cannot be reached", "run", both(
        closed_directory("shut"), setting("run_dir", '"@dir/shut/run"'))),
    change("a state that is there", "state", directory("state", mode=0o700, uid=SERVER_UID)),
    change("a state that others enter", "state", directory("state", mode=0o755, uid=SERVER_UID)),
    change("a state that is a file", "state",
           lambda place: (place.directory / "state").write_text("")),
    change("a deeper run_dir", "run", setting("run_dir", '"@dir/a/b"')),
    change("a run_dir of others", "run", setting("run_dir", '"@dir/certs"')),
    change("a run_dir in a file", "run", setting("run_dir", '"@dir/policy.toml/run"')),
    change("a work_root that others write", "work", directory("work", mode=0o777)),
    change("a work_root that is a file", "work",
           lambda place: (place.directory / "work").write_text("")),
    change("a key of others", "key", setting("key", '"@dir/certs/alice.key"')),
    change("a key that others read", "key", lambda place: place.pki.server.key.chmod(0o644)),
    change("a CA that is none", "ca", lambda place: place.pki.ca.write_text("")),
    change("another CA", "ca", other_ca),
    change("a list of revoked", "ca", crl),
    change("a list of others", "ca", crl_of_others),
    change("a bound of transport", "transport", end_of_config("[transport]\nstreams = 5")),
    change("a wrong bound of transport", "transport", end_of_config("[transport]\nstreams = 0")),
    change("an unknown setting", "unknown", setting("listn", '"x"')),
]  # fmt: skip
NAMES = [each.name for each in CHANGES]
assert len(set(NAMES)) == len(NAMES)
assert set(NAMES) >= HARMLESS
