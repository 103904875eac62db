"""Batches of the simulation's programs, played at once on a real server that is killed meanwhile.

A batch is a value of its seed, as a program is; what the kernel makes of it is not. Whoever plays
it again plays the same operations, jobs and kills, in another order of events.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field

import trio
from running import RunningServer

from .judging import judge, records
from .programs import INPUT_FOCUS, NAMES_FOCUS, Fault, Focus, Program, Seeded, make_program
from .real import History, play

# Removed jobs have no record to be judged by.
_LEFT_OUT = ("remove",)
# One in so many is about input, as in the simulation, and one about names.
_INPUT_EACH = 5


def _program(choose: Seeded, focus: Focus | None = None) -> Program:
    """One of the simulation's; of its faults, kills are left."""
    program = make_program(choose, faults=False, focus=focus)
    actors = []
    for actor in program.actors:
        # The first is a start; without its answer there is nothing to do the rest to.
        first = dataclasses.replace(actor.ops[0], within=None)
        rest = (op for op in actor.ops[1:] if op.what not in _LEFT_OUT)
        actors.append(dataclasses.replace(actor, ops=(first, *rest)))
    return dataclasses.replace(program, actors=tuple(actors))


@dataclass(frozen=True, slots=True)
class Batch:
    """``programs`` by name (letters and digits), and when the server is killed under them."""

    seed: str
    programs: dict[str, Program]
    kills: tuple[Fault, ...]


def seeded_batch(seed: str, name: str, programs: int, kills: int) -> Batch:
    """``name``: no two batches on one server have the same, as request ids are made of it."""
    choose = Seeded(f"real:{seed}")
    made = {f"{name}p{number}": _program(choose) for number in range(programs)}
    for number in range(_INPUT_EACH - 1, programs, _INPUT_EACH):
        fed = Seeded(f"real:{seed}:{number}")
        made[f"{name}p{number}"] = _program(fed, INPUT_FOCUS)
    for number in range(_INPUT_EACH - 2, programs, _INPUT_EACH):
        named = Seeded(f"real:{seed}:{number}")
        made[f"{name}p{number}"] = _program(named, NAMES_FOCUS)
    faults = tuple(
        Fault("crash" if number == 0 else choose.pick(("crash", "leave")), at=5.0)
        for number in range(kills)
    )
    return Batch(seed, made, faults)


@dataclass
class Outcome:
    """``wrong``: what does not hold. ``jobs``: records of the server after it."""

    batch: Batch
    wrong: list[str]
    history: History = field(default_factory=History)
    jobs: int = 0

    @property
    def done(self) -> Counter[str]:
        """What was answered, and how often."""
        return self.history.done

    def text(self) -> str:
        """All there is to see of one that went wrong."""
        wrong = "\n".join(["broken:", *(f"  {each}" for each in self.wrong)])
        programs = "\n".join(f"  {name} {each!r}" for name, each in self.batch.programs.items())
        told = "\n".join(
            f"  {each.owner} {each.what} {each.handle} {each.request_id} "
            f"{' '.join(str(each.message).split())} {each.alive or ''}"
            for each in self.history.told
        )
        return (
            f"{wrong}\nseed: {self.batch.seed}, real\nkills: {self.batch.kills!r}\n"
            f"programs:\n{programs}\ntold:\n{told}\n"
        )


async def play_batch(server: RunningServer, batch: Batch) -> Outcome:
    """Plays and judges it. Bounded by ``play``: one that does not come to its end is wrong."""
    history = History()
    try:
        await play(server, batch.programs, batch.kills, history)
    except Exception as error:  # what it was told until then is worth reading
        late = isinstance(error, trio.TooSlowError)
        why = "the batch does not come to its end" if late else f"the batch has ended by {error!r}"
        return Outcome(batch, [why, *history.wrong], history)
    found = records(server.directory / "state" / "penstock.db")
    return Outcome(batch, judge(history, found), history, len(found))
