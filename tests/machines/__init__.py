"""The deterministic harness: programs and schedules, in memory, in virtual time.

A *program* (``programs.Program``) is a value: a few clients with a few operations each, what
their jobs do, and what goes wrong. A *schedule* (``schedule.Schedule``) is a value, too.
``run.run`` plays one in the other, against the real manager, jobs, output log, records, service
and both ends of rpc; the same two give the same run, step by step, in any process.
``timeline.Broken`` is what it raises: what does not hold, the value, the command that plays it
again, and a time line.

    from machines.run import run, run_many, seeded
    run(Program(actors=(Actor("alice", (Op("start"), Op("stop"))),)), Schedule("hold", 7))
    tally = run_many(1, programs=20_000, seconds=240)     # programs 1:0, 1:1, ...; tally.broken
    program, schedule = seeded("1:17")                     # one of those

    python tests/machines/replay.py "(Program(...), Schedule(...))"    # or --seed 1:17, --file F

| module | concept |
|---|---|
| schedule | FIFO, shuffle, hold-back; the only one with Trio's private names |
| programs | programs and schedules as values, drawn by Hypothesis or by a seed; ``parse`` |
| kernel, group | the supervisor, its jobs' processes, pipes, signals; outlive the server |
| process | one life of the server, and its death before any effect; its disk and records |
| network | connections that are late, short, silent, cut; TLS is left out |
| host | what a process has from its host: ids, the time, threads |
| world | all of it together, lives of the server, faults |
| clients | actors, by the real client; each answer is checked |
| invariants | what must hold at every answer, and at the end |
| reading | what one reader must see: each byte once, in order, soon; no gap without a reason |
| feeding | what a job must read: what it was sent, once, in order, and its end |
| endings | what an end record must say, by what the kernel knows and clients have asked for |
| graces | when a job that is stopped must be killed, by what callers asked for |
| naming | whose a name is, and which jobs a list with a filter must have |
| peeking | each call, about another client's job |
| watching | what a watcher must be told: each change, in order, soon; what the table must have |
| canaries, more_canaries, watch_canaries, planting | planted bugs, which the search has to find |
| run, replay, timeline | one, many, again; what people read |
| real, real_input, judging | the same programs on a real server; what clients were told is judged |
| batches, real_search | many of those at once, under kills; batch after batch, for people |

To plant a bug, or to look for one, call ``run`` or ``run_many`` with the product changed; both are
plain functions, and nothing of a run outlives it. Within a test use ``broken`` of the tally.
"""
