"""tools/stress --real: the simulation's programs on a real server that is killed under them.

A penstockd of its own, real clients over TLS, real processes. Programs are played in batches, all
of a batch at once; afterwards what clients were told is judged by the simulation's invariants.
"""

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import trio
from running import policy_text, running_server

from .batches import Outcome, play_batch, seeded_batch
from .real import CLIENTS, COMMANDS

_AT_ONCE = 20
_KILLS = 4
_BATCHES_OF_A_SERVER = 10  # then the next penstockd begins with nothing


@dataclass
class Tally:
    """What was played so far. ``broken`` ends it; ``wrong`` is of a penstockd at its end."""

    batches: int = 0
    programs: int = 0
    servers: int = 0
    kills: int = 0
    jobs: int = 0
    done: Counter[str] = field(default_factory=Counter)
    broken: Outcome | None = None
    wrong: str = ""


class Real:
    """Plays batches ``<seed>:0``, ``<seed>:1`` … or, to see a failure again, one of them again and
    again."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.tally = Tally()
        self._options = options
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def _enough(self) -> bool:
        programs, seconds = self._options.programs, self._options.seconds
        return (programs is not None and self.tally.programs >= programs) or (
            seconds is not None and self.seconds() >= seconds
        )

    def _seeds(self) -> Iterator[str]:
        if self._options.replay_seed:
            return itertools.repeat(self._options.replay_seed)
        return (f"{self._options.seed}:{number}" for number in itertools.count())

    def run(self) -> None:
        """Until so many programs, so many seconds, or something wrong. A batch is not broken off,
        and takes some ten seconds."""
        seeds = self._seeds()
        while not self._over():
            self.tally.servers += 1
            try:
                with running_server(policy_text(COMMANDS, CLIENTS)) as server:
                    jobs = 0
                    for number in range(_BATCHES_OF_A_SERVER):
                        if self._over():
                            break
                        programs = _AT_ONCE
                        if self._options.programs is not None:
                            programs = min(programs, self._options.programs - self.tally.programs)
                        batch = seeded_batch(next(seeds), f"b{number}", programs, _KILLS)
                        outcome = trio.run(play_batch, server, batch)
                        self._count(outcome, outcome.jobs - jobs)
                        jobs = outcome.jobs
            except AssertionError as error:  # it did not start, did not end, or left something
                self.tally.wrong = str(error)

    def _over(self) -> bool:
        return self._enough() or self.tally.broken is not None or bool(self.tally.wrong)

    def _count(self, outcome: Outcome, jobs: int) -> None:
        tally = self.tally
        tally.batches += 1
        tally.programs += len(outcome.batch.programs)
        tally.kills += len(outcome.batch.kills)
        tally.jobs += max(0, jobs)
        tally.done += outcome.done
        if outcome.wrong:
            tally.broken = outcome
        print(f"{self.seconds():6.0f} s  {tally.programs:7} programs", flush=True)

    def summary(self) -> str:
        """What was played, and what clients were answered."""
        tally, options = self.tally, self._options
        if tally.broken or tally.wrong:
            why = "a failing example"
        elif options.programs is not None and tally.programs >= options.programs:
            why = f"{options.programs} programs"
        else:
            why = f"{options.seconds:g} seconds" if self._enough() else "the user"
        done = ", ".join(f"{what} {count}" for what, count in sorted(tally.done.items()))
        return "\n".join(
            [
                f"ended by {why}: {tally.programs} programs in {self.seconds():.0f} s, real, "
                f"seed {options.replay_seed or options.seed}",
                f"{tally.batches} batches on {tally.servers} penstockds, whose servers were ended "
                f"{tally.kills} times under them; {tally.jobs} jobs",
                f"answers: {done}",
            ]
        )


def search(options: argparse.Namespace) -> int:
    """Exit status: 1 if something was wrong."""
    real = Real(options)
    try:
        real.run()
    except KeyboardInterrupt:
        print(real.summary())
        return 130
    print(real.summary())
    if real.tally.wrong:
        print(f"\nof a penstockd: {real.tally.wrong}")
    broken = real.tally.broken
    if broken is not None:
        options.save.mkdir(parents=True, exist_ok=True)
        path = options.save / f"real-{broken.batch.seed.replace(':', '-')}.txt"
        path.write_text(broken.text())
        print("\nbroken:", *broken.wrong, sep="\n  ")
        print(
            f"saved in {path}; the same programs again, until they fail: "
            f"tools/stress --real --replay-seed {broken.batch.seed}"
        )
    return 1 if broken is not None or real.tally.wrong else 0
