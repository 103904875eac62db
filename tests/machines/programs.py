"""Programs: what clients, jobs and faults do. Values, written as they are read.

``make_program`` draws one from anything that can choose: Hypothesis (``programs``), or a seed
(``Seeded``) for long runs without its database.
"""

import ast
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

from .schedule import Kind, Schedule

T = TypeVar("T")

GRACE_S = 2.0
# Ties are where races are, so these are the system's own times: grace, what holds small writes
# together (5 ms), news of a gap, again after a full disk or record (1 s), UNKILLABLE (10 s).
TIMES_S = (0.0, 0.001, 0.005, 0.1, GRACE_S / 2, GRACE_S, 2 * GRACE_S, 5.0)
DELAYS_S = (0.0, 0.0, 0.001, 0.005, 0.1, GRACE_S / 2)
SIZES = (1, 7, 100, 4096, 16_384, 20_000, 70_000)
# Mostly at once: what has ended already is no race.
AFTER_S = (0.0, 0.0, 0.0, 0.001, 0.005, 0.1, GRACE_S / 2, GRACE_S, 5.0)
OWNERS = ("alice", "bob")
COMMANDS = ("keep", "newest", "waits", "stops", "tree")


class _Value:
    """Written without what is as usual."""

    __slots__ = ()

    def __repr__(self) -> str:
        parts = []
        for each in fields(self):  # type: ignore[arg-type]  # all of them are dataclasses
            value = getattr(self, each.name)
            if value != each.default:
                parts.append(f"{each.name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, slots=True, repr=False)
class Act(_Value):
    """What a process does next: ``write`` n bytes on a stream, ``sleep``, ``daemon`` (a process
    that sleeps for ``seconds``, and may be ``deaf``), ``deaf`` (ignores TERM from now on),
    ``asleep`` (uninterruptibly), ``halt`` (stands still until it is continued, as somebody has
    sent it SIGSTOP), ``read`` (its input, to its end), ``shut`` (closes its input)."""

    what: str
    size: int = 0
    stream: int = 1
    seconds: float = 0.0
    deaf: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Behaviour(_Value):
    """Of a job's main process. ``code`` is its exit status."""

    acts: tuple[Act, ...] = ()
    code: int = 0
    command: str = "keep"
    stdin: bool = False
    timeout_s: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class Op(_Value):
    """What a client does next; ``after`` seconds. ``job``: which of the jobs it knows of.

    ``within`` seconds it loses its patience; by ``how``: it cancels the call, sets the call's
    deadline, or its connection is cut.
    """

    what: str
    job: int = 0
    after: float = 0.0
    within: float | None = None
    how: str = "cancel"
    seconds: float | None = None
    number: int = 0
    request_id: str = ""
    flag: bool = False
    name: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Fault(_Value):
    """What happens to the system ``at`` seconds, or (``step``) before the server's n-th effect."""

    what: str
    at: float = 0.0
    seconds: float = 0.0
    number: int = 0
    step: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Actor(_Value):
    """One client with one connection, which does one thing after another."""

    owner: str
    ops: tuple[Op, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Program(_Value):
    """``jobs`` are what starts choose from; ``latency`` and ``kernel`` are seconds for each byte
    on the network and each of the kernel's answers."""

    actors: tuple[Actor, ...] = ()
    jobs: tuple[Behaviour, ...] = (Behaviour(),)
    faults: tuple[Fault, ...] = ()
    latency: float = 0.0
    kernel: float = 0.0
    short: bool = False
    output: int = 0
    """Bound of each job's output: 0 none, else bytes."""


Focus = tuple[tuple[str, ...], tuple[float, ...], tuple[str, ...], int, int]
"""Operations and the times between them, acts, and the most clients and acts."""


class Chooser(Protocol):
    """Where a program's choices come from; the first of several is the simplest."""

    def pick(self, options: Sequence[T]) -> T: ...

    def integer(self, least: int, most: int) -> int: ...


class Seeded:
    """Choices by a seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def pick(self, options: Sequence[T]) -> T:
        return options[self._random.randrange(len(options))]

    def integer(self, least: int, most: int) -> int:
        return self._random.randint(least, most)


class _Drawn:
    def __init__(self, draw: Any) -> None:
        self._draw = draw

    def pick(self, options: Sequence[T]) -> T:
        value: T = self._draw(st.sampled_from(options))
        return value

    def integer(self, least: int, most: int) -> int:
        value: int = self._draw(st.integers(least, most))
        return value


_OPS = (
    "status", "start", "stop", "stream", "stream", "stream", "list", "wait", "stop", "peek",
    "signal", "pause", "resume", "input", "remove",
)  # fmt: skip
_ACTS = ("write", "write", "write", "sleep", "daemon", "deaf", "read", "asleep", "shut")
# What most of a program is about: else races of three things at once are rare in it.
# Who reads has to come while the job still writes.
_ANY: Focus = (_OPS, AFTER_S, _ACTS, 3, 5)
_FOCUS: tuple[Focus, ...] = (
    _ANY,
    _ANY,
    (("stream", "stream", "stream", "status"), TIMES_S[:4], ("write", "write", "sleep"), 6, 8),
    (
        ("start", "signal", "signal", "stop", "peek", "wait"),
        TIMES_S,
        ("sleep", "write", "daemon"),
        3,
        5,
    ),
)
# Of its own, for every so many programs of a seed (run.py): input is rare in the others, and what
# goes wrong with it needs a server that dies between two of its system calls.
INPUT_FOCUS: Focus = (
    ("input", "input", "input", "input", "input", "wait", "stop"),
    TIMES_S[:5],
    ("read", "read", "sleep", "write"),
    3,
    4,
)
# Of its own, too, because a name that is in use has a start refused: few programs are about that.
NAMES_FOCUS: Focus = (
    ("start", "start", "start", "list", "list", "list", "list", "stop", "wait", "remove"),
    (0.0, 0.0, 0.001, 0.1, 1.0, 2.0),
    ("sleep", "sleep", "write"),
    4,
    4,
)
# As with input: programs of their own, so that those of the other seeds are as they were.
WATCH_FOCUS: Focus = (
    ("watch", "watch", "watch", "start", "start", "stop", "remove", "remove", "pause", "resume"),
    TIMES_S[:5],
    ("sleep", "write"),
    3,
    3,
)
_FAULTS = (
    "crash", "cut", "stall", "full", "eio", "short", "records", "audit", "crash", "shutdown",
    "supervisor", "leave",
)  # fmt: skip

# By a fault's number: a part of the others is one of these.
_RARER = {
    ("short", 0): "revoke", ("short", 1): "revoke", ("audit", 1): "bug", ("shutdown", 3): "twice",
    ("shutdown", 2): "expire", ("stall", 3): "still", ("records", 3): "unrecorded",
    ("eio", 3): "storage", ("cut", 2): "away",
    ("full", 1): "reload", ("leave", 0): "reload", ("supervisor", 2): "reload",
    ("short", 3): "reload",
}  # fmt: skip


_FLAGGED = ("stop", "stream", "list", "signal", "watch")


class _Style:
    """Of one program: how often what is done, and how much of it."""

    def __init__(self, focus: Focus) -> None:
        self.ops, self.times, self.acts, self.most_actors, self.most_acts = focus
        self.names = focus is NAMES_FOCUS


def _act(choose: Chooser, style: _Style) -> Act:
    what = choose.pick(style.acts)
    return Act(
        what,
        size=choose.pick(SIZES) if what == "write" else 0,
        stream=choose.pick((1, 2)) if what == "write" else 1,
        seconds=choose.pick(TIMES_S) if what in ("sleep", "daemon", "asleep") else 0.0,
        deaf=what == "daemon" and choose.pick((False, True)),
    )


def _behaviour(choose: Chooser, style: _Style) -> Behaviour:
    acts = tuple(_act(choose, style) for _ in range(choose.integer(0, style.most_acts)))
    reads = any(act.what in ("read", "shut") for act in acts)
    return Behaviour(
        acts,
        code=choose.pick((0, 3)),
        command=choose.pick(COMMANDS),
        stdin=reads,
        timeout_s=choose.pick((0.0, 0.0, 0.0, 0.0, GRACE_S)),
    )


def _op(choose: Chooser, style: _Style, *, first: bool) -> Op:
    what = "start" if first else choose.pick(style.ops)  # else there is nothing to do it to
    named = style.names and what in ("start", "list")
    numbered = what in ("stream", "input", "signal", "watch") or (named and what == "list")
    impatient = choose.pick((False, False, True))
    return Op(
        what,
        job=choose.integer(0, 3),
        after=choose.pick(style.times),
        within=choose.pick(TIMES_S) if impatient else None,
        how=choose.pick(("cancel", "deadline", "cut")) if impatient else "cancel",
        seconds=choose.pick((None, 0.0, GRACE_S / 2, 2 * GRACE_S)) if what == "stop" else None,
        number=choose.integer(0, 12) if numbered else 0,
        request_id=choose.pick(("", "r1", "r2")) if what == "start" else "",
        flag=choose.pick((False, True)) if what in _FLAGGED else False,
        name=choose.pick(("n1", "n1", "n2", "")) if named else "",
        label=choose.pick(("", "a", "b")) if named else "",
    )


def _fault(choose: Chooser) -> Fault:
    what = choose.pick(_FAULTS)
    stepwise = what == "crash" and choose.pick((False, True))
    at, seconds = choose.pick(TIMES_S), choose.pick(TIMES_S)
    number = choose.integer(0, 3)
    step = choose.integer(0, 120) if stepwise else None
    return Fault(_RARER.get((what, number), what), at, seconds, number, step)


def make_program(choose: Chooser, *, faults: bool = True, focus: Focus | None = None) -> Program:
    """A few clients, a few jobs, a few faults. ``focus``: what it is about; else that is chosen."""
    style = _Style(choose.pick(_FOCUS) if focus is None else focus)
    jobs = tuple(_behaviour(choose, style) for _ in range(choose.integer(1, 3)))
    actors = tuple(
        Actor(
            choose.pick(("alice", "alice", "bob")),  # mostly at the same jobs
            tuple(_op(choose, style, first=at == 0) for at in range(choose.integer(1, 6))),
        )
        for _ in range(choose.integer(1, style.most_actors))
    )
    return Program(
        actors,
        jobs,
        tuple(_fault(choose) for _ in range(choose.integer(0, 3))) if faults else (),
        latency=choose.pick(DELAYS_S),
        kernel=choose.pick(DELAYS_S),
        short=choose.pick((False, True)),
        output=choose.pick((0, 131_072)),
    )


def make_schedule(choose: Chooser) -> Schedule:
    """Any of the three kinds."""
    kinds: tuple[Kind, ...] = ("fifo", "shuffle", "hold", "lag")
    kind = choose.pick(kinds)
    if kind == "fifo":
        return Schedule()
    seed = choose.integer(0, 1_000_000)
    if kind == "shuffle":
        return Schedule("shuffle", seed)
    return Schedule(kind, seed, choose.integer(2, 5), choose.pick((2, 4, 16, 64)))


@st.composite
def programs(draw: Any, *, faults: bool = True) -> Program:
    """For Hypothesis; it shrinks to few actors, operations and faults."""
    focus = draw(st.sampled_from((None, None, None, NAMES_FOCUS, WATCH_FOCUS)))
    return make_program(_Drawn(draw), faults=faults, focus=focus)


@st.composite
def schedules(draw: Any) -> Schedule:
    """For Hypothesis; it shrinks to ``fifo``: what fails there as well is no race."""
    return make_schedule(_Drawn(draw))


_NAMES = {each.__name__: each for each in (Act, Behaviour, Op, Fault, Actor, Program, Schedule)}


def parse(text: str) -> Any:
    """The value that a repr of it stands for. Raises ValueError for any other text."""
    return _value(ast.parse(text.strip(), mode="eval").body)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Tuple():
            return tuple(_value(each) for each in node.elts)
        case ast.Call(func=ast.Name(id=name)) if name in _NAMES:
            named = {each.arg: _value(each.value) for each in node.keywords if each.arg}
            return _NAMES[name](*(_value(each) for each in node.args), **named)
    raise ValueError(f"not a program: {ast.unparse(node)}")
