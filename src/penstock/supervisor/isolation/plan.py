"""What a job is kept apart by: plain data, made from the policy and what the host offers (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ...policy.isolation_policy import DEFAULT, TURNED_OFF
from ...policy.limit_classes import ISOLATION_NAMES, Enforcement, IsolationName, LimitClass
from ...policy.policy_file import Command
from .namespaces import FLAGS


@dataclass(frozen=True, slots=True)
class Isolation:
    """What the child does, in this order.

    Only numbers, texts, bytes and tuples of them, because the child of a fork reads it, and must
    not compute anything of its own. The mounts are as in mount_view.enter, Landlock's paths as in
    landlock.restrict.
    """

    pids: bool = False
    namespaces: int = 0
    mounts: bool = False
    writable: tuple[str, ...] = ()
    visible: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    behind: str = ""
    owner: tuple[int, int] | None = None
    entries: tuple[tuple[str, bytes], ...] = ()
    shm: str = ""
    loopback: bool = False
    landlock: int = 0
    landlock_read: tuple[str, ...] = ()
    landlock_write: tuple[str, ...] = ()
    landlock_maybe: tuple[str, ...] = ()
    seccomp: bytes = b""


NOTHING: Final = Isolation()


@dataclass(frozen=True, slots=True)
class Offers:
    """What this host gives: an entry for every isolation, as it was tried, and what it takes to do
    it.

    ``private`` are the directories for temporary files that each job gets for itself, ``shm`` that
    of shared memory, "" where there is none.
    """

    entries: dict[IsolationName, Enforcement] = field(hash=False)
    private: tuple[str, ...] = ()
    shm: str = ""
    landlock: int = 0
    seccomp: bytes = b""

    def gives(self, name: IsolationName) -> bool:
        """Does the host give this isolation, in full or in part?"""
        return self.entries[name].state != "unavailable"


@dataclass(frozen=True, slots=True)
class Places:
    """The places of one job: where it starts, and the directory for its temporary files.

    ``owner`` (uid, gid) gets that directory; None leaves it as it is. ``entries`` are the lines
    that files of the host have more in the job's view, by path.
    """

    workdir: str
    temporary: str
    owner: tuple[int, int] | None
    entries: tuple[tuple[str, bytes], ...] = ()


def make_isolation(command: Command, offers: Offers, places: Places) -> Isolation:
    """What the child is to do: all that the command wants and the host gives."""
    policy = command.isolation
    given = {name for name in policy.wanted if offers.gives(name)}
    flags = sum(FLAGS[name] for name in given if name in FLAGS)
    mounts = needs_temporary(command, offers)
    writable = outermost((places.workdir, *policy.writable))
    roots = tuple(command.grammar.roots())
    landlock = policy.landlock if "isolation.landlock" in given else None
    # The program too: it is executed by descriptor, but Landlock's rule is for its path.
    listed = (*landlock.read, command.path) if landlock is not None else ()
    private = offers.private if mounts else ()
    shm = offers.shm if mounts else ""
    over = (*private, shm) if shm else private
    return Isolation(
        # Only with a view of its own, because the host's /proc would still show all processes.
        pids=mounts and "isolation.pid" in given,
        namespaces=flags,
        mounts=mounts,
        writable=writable if mounts else (),
        visible=hidden((*roots, *listed), over, writable) if mounts else (),
        private=private,
        behind=places.temporary if mounts else "",
        owner=places.owner if mounts else None,
        entries=places.entries if mounts else (),
        shm=shm,
        loopback="isolation.network" in given,
        landlock=offers.landlock if landlock is not None else 0,
        landlock_read=(*listed, *roots) if landlock is not None else (),
        landlock_write=writable if landlock is not None else (),
        # Without a view of its own these would be the host's, shared by all jobs.
        landlock_maybe=over if landlock is not None else (),
        seccomp=offers.seccomp if "isolation.seccomp" in given else b"",
    )


def needs_temporary(command: Command, offers: Offers) -> bool:
    """Does a job have a view of its own, and so a directory for temporary files?"""
    name: IsolationName = "isolation.filesystem"
    return name in command.isolation.wanted and offers.gives(name)


def report(command: Command, offers: Offers) -> list[Enforcement]:
    """An entry for each isolation that a job of this command gets, or that its table turns off.

    An isolation that comes only on request, and was not asked for, is no lack and has no entry.
    """
    policy = command.isolation
    return [
        _became(name, command, offers)
        if name in policy.wanted
        else Enforcement(name, "unavailable", detail=TURNED_OFF)
        for name in ISOLATION_NAMES
        if name in policy.wanted or name in DEFAULT
    ]


def _became(name: IsolationName, command: Command, offers: Offers) -> Enforcement:
    if name == "isolation.pid" and offers.gives(name) and not needs_temporary(command, offers):
        return Enforcement(name, "unavailable", detail="it takes isolation.filesystem, for /proc")
    return offers.entries[name]


def unmet(
    command: Command, limit_class: LimitClass, offers: Offers, *, root: bool
) -> list[Enforcement]:
    """What this command must have and the host does not give.

    It must have everything that it wants if its class says ``required``, and nothing if the class
    says ``best_effort``. Where the class is silent it must have everything as root. Without root
    the default cannot be had, so it must have only what the command's own table asks for.
    """
    return unmet_by(command, limit_class, offers.entries, root=root)


def unmet_by(
    command: Command,
    limit_class: LimitClass,
    entries: Mapping[IsolationName, Enforcement],
    *,
    root: bool,
) -> list[Enforcement]:
    """The same, by what was found of each isolation."""
    if limit_class.isolation == "best_effort":
        return []
    all_of_it = root or limit_class.isolation == "required"
    names = command.isolation.wanted if all_of_it else command.isolation.asked
    wanted = [entries[name] for name in ISOLATION_NAMES if name in names]
    return [entry for entry in wanted if entry.state != "enforced"]


def missing_by_default(offers: Offers) -> list[str]:
    """Lines for the log: what every job should have and this host does not give."""
    return [
        f"{entry.limit} is {entry.state} on this host: {entry.detail}"
        for name, entry in offers.entries.items()
        if name in DEFAULT and entry.state != "enforced"
    ]


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Each path once, without those that lie beneath others; in order."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not beneath(path, found):
            found.append(path)
    return tuple(found)


def hidden(
    paths: Sequence[str], private: Sequence[str], writable: Sequence[str]
) -> tuple[str, ...]:
    """Those of the paths that a job's private directories hide, and that no writable directory
    shows again."""
    return outermost(
        path for path in paths if beneath(path, private) and not beneath(path, writable)
    )


def beneath(path: str, tops: Iterable[str]) -> bool:
    """Is the path one of these, or beneath one?"""
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)
