"""A program that uses the library, for tests that interrupt it: ``python library_program.py POLICY
STATE CGROUP-PARENT ODD-ONE LINE``.

Says on standard output how far it is, a word a line. ``ODD-ONE`` is the command of one of its jobs.
``LINE``: ^C comes as that line of the library is about to run (see sigint.Lines), and otherwise it
ends by itself; -1: it waits for ever.
"""

import sys

import trio
from sigint import Lines

from penstock.concurrency.plain_errors import PlainErrors
from penstock.jobs.backends.base import JobSpec
from penstock.jobs.job import Job
from penstock.jobs.standalone import open_local

JOBS = 14


def say(word: str) -> None:
    print(word, flush=True)


async def read(job: Job) -> None:
    with job.read_output() as reader:
        async for _ in reader:
            pass


async def main(policy: str, state: str, parent: str, odd_one: str, *, waits: bool) -> None:
    say("begun")
    async with open_local(policy, state, cgroup_parent=parent) as manager:
        say("open")
        errors = PlainErrors()  # the nursery is ours, so the group is, too
        with errors.outside():
            async with trio.open_nursery() as nursery:
                with errors.inside():
                    commands = ["idle" if number % 2 else "greet" for number in range(JOBS - 1)]
                    for command in (*commands, odd_one):
                        job = await manager.start("me", JobSpec(command))
                        say("started")
                        nursery.start_soon(read, job)
                    if waits:
                        await trio.sleep_forever()
                nursery.cancel_scope.cancel()


def run(policy: str, state: str, parent: str, odd_one: str, line: str) -> None:
    async def program() -> None:
        # Not around trio.run, which is open to ^C as it begins and ends.
        with Lines(int(line)).watched():
            await main(policy, state, parent, odd_one, waits=line == "-1")

    trio.run(program)


if __name__ == "__main__":
    run(*sys.argv[1:])
