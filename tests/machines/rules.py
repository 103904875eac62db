"""The rules: what clients, jobs, the machine and time may do next, in any order.

A failing example is printed as the steps that led to it.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from penstock.proto import command_pb2 as pb

from .by_hand import Job, Machine, Reader
from .programs import COMMANDS, DELAYS_S, GRACE_S, OWNERS, SIZES, TIMES_S, Act, Fault, Op, schedules
from .schedule import Schedule

# A client's patience with a call, and what it does when that is over.
IMPATIENCE = st.sampled_from(
    [{}] * 20
    + [
        {"within": seconds, "how": how}
        for seconds in (0.0, 0.005, 1.0)
        for how in ("cancel", "deadline", "cut")
    ]
)
STREAMS = st.sampled_from([(), (pb.STREAM_STDOUT,), (pb.STREAM_STDERR,)])
times = st.sampled_from(TIMES_S)


class Rules(RuleBasedStateMachine):
    """One machine. Jobs and readers are what rules before have made."""

    jobs: Bundle[Job] = Bundle("jobs")
    readers: Bundle[Reader] = Bundle("readers")
    machine: Machine | None = None

    @property
    def running(self) -> Machine:
        """Of this example."""
        assert self.machine is not None
        return self.machine

    @initialize(
        target=jobs,
        owner=st.sampled_from(OWNERS),
        command=st.sampled_from(COMMANDS),
        schedule=schedules(),
        latency=st.sampled_from(DELAYS_S),
        kernel=st.sampled_from(DELAYS_S),
        short=st.booleans(),
        output=st.sampled_from((0, 131_072)),
    )
    def boot(self, owner: str, command: str, schedule: Schedule, **how: Any) -> Job:
        """The machine, with a server that serves and a job that runs."""
        self.machine = Machine(schedule, **how)
        job = self._started(owner, command, {})
        for _ in range(10):
            self.machine.passes(GRACE_S)
        return job

    def teardown(self) -> None:
        """What must hold in the end."""
        if self.machine is not None:
            self.machine.end()

    # Clients.

    def _asks(self, about: Job, what: str, impatience: dict[str, Any], **more: Any) -> None:
        self.running.asks(about.owner, about, Op(what, **impatience, **more))

    @rule(
        target=jobs,
        owner=st.sampled_from(OWNERS),
        command=st.sampled_from(COMMANDS),
        request_id=st.sampled_from(("", "r1", "r2")),
        name=st.sampled_from(("", "", "n1")),
        label=st.sampled_from(("", "a")),
        impatience=IMPATIENCE,
    )
    def start(self, owner: str, command: str, impatience: dict[str, Any], **named: str) -> Job:
        """A client starts a job, perhaps by a name."""
        return self._started(owner, command, impatience, **named)

    def _started(self, owner: str, command: str, impatience: dict[str, Any], **named: str) -> Job:
        job = Job(owner)
        self._asks(job, "start", impatience, job=COMMANDS.index(command), **named)
        return job

    @rule(
        job=jobs,
        grace=st.sampled_from((None, 0.0, GRACE_S / 2, 2 * GRACE_S)),
        no_wait=st.booleans(),
        impatience=IMPATIENCE,
    )
    def stop(
        self, job: Job, grace: float | None, no_wait: bool, impatience: dict[str, Any]
    ) -> None:
        """Its owner stops it."""
        self._asks(job, "stop", impatience, seconds=grace, flag=no_wait)

    @rule(job=jobs, number=st.integers(0, 4), tree=st.booleans(), impatience=IMPATIENCE)
    def signal(self, job: Job, number: int, tree: bool, impatience: dict[str, Any]) -> None:
        """HUP, INT, TERM, USR1 or CONT."""
        self._asks(job, "signal", impatience, number=number, flag=tree)

    @rule(job=jobs, impatience=IMPATIENCE)
    def pause(self, job: Job, impatience: dict[str, Any]) -> None:
        """Its processes stand still."""
        self._asks(job, "pause", impatience)

    @rule(job=jobs, impatience=IMPATIENCE)
    def resume(self, job: Job, impatience: dict[str, Any]) -> None:
        """And run on."""
        self._asks(job, "resume", impatience)

    @rule(job=jobs, pieces=st.integers(0, 12), impatience=IMPATIENCE)
    def send_input(self, job: Job, pieces: int, impatience: dict[str, Any]) -> None:
        """All of it, of 700 bytes each."""
        self._asks(job, "input", impatience, number=pieces)

    @rule(job=jobs, impatience=IMPATIENCE)
    def status(self, job: Job, impatience: dict[str, Any]) -> None:
        """Of one job."""
        self._asks(job, "status", impatience)

    @rule(job=jobs)
    def peek(self, job: Job) -> None:
        """Somebody else asks for it."""
        other = next(owner for owner in OWNERS if owner != job.owner)
        self.running.asks(other, job, Op("peek"))

    @rule(
        job=jobs,
        finished=st.booleans(),
        number=st.integers(0, 8),
        name=st.sampled_from(("n1", "n2")),
        label=st.sampled_from(("a", "b")),
    )
    def list(self, job: Job, finished: bool, number: int, name: str, label: str) -> None:
        """All that is its owner's, or what one of several filters matches."""
        op = Op("list", flag=finished, number=number, name=name, label=label)
        self.running.asks(job.owner, job, op)

    @rule(
        job=jobs,
        number=st.integers(0, 11),
        resumes=st.booleans(),
        impatience=IMPATIENCE,
    )
    def watch(self, job: Job, number: int, resumes: bool, impatience: dict[str, Any]) -> None:
        """Its owner's jobs, for a while; from now on, or behind a number that somebody has had."""
        self._asks(job, "watch", impatience, number=number, flag=resumes)

    @rule(job=jobs, impatience=IMPATIENCE)
    def whoami(self, job: Job, impatience: dict[str, Any]) -> None:
        """What its owner may start, and how much of its quotas is used."""
        self.running.asks(job.owner, None, Op("whoami", **impatience))

    @rule(job=jobs, impatience=IMPATIENCE)
    def wait(self, job: Job, impatience: dict[str, Any]) -> None:
        """For its end."""
        self._asks(job, "wait", impatience)

    @rule(job=jobs, impatience=IMPATIENCE)
    def remove(self, job: Job, impatience: dict[str, Any]) -> None:
        """What is known of it, if it has ended."""
        self._asks(job, "remove", impatience)

    @rule(target=readers, job=jobs, streams=STREAMS)
    def open_stream(self, job: Job, streams: tuple[pb.Stream, ...]) -> Reader:
        """From the beginning, over any number of connections."""
        reader = Reader(self.running, job.owner, job, streams)
        self.running.follows(reader)
        return reader

    @rule(reader=readers, messages=st.sampled_from((1, 2, 10, 1000)))
    def read_some(self, reader: Reader, messages: int) -> None:
        """As soon as they are there."""
        self.running.happens(lambda: reader.want(messages))

    @rule(reader=readers)
    def leave_stream(self, reader: Reader) -> None:
        """In the middle of whatever it does."""
        self.running.happens(reader.scope.cancel)

    # Jobs.

    @rule(job=jobs, size=st.sampled_from(SIZES), stream=st.sampled_from((1, 2)))
    def job_writes(self, job: Job, size: int, stream: int) -> None:
        """Waiting where its pipe is full."""
        self.running.order(job, Act("write", size=size, stream=stream))

    @rule(job=jobs, code=st.sampled_from((0, 3)))
    def job_exits(self, job: Job, code: int) -> None:
        """Its main process."""
        self.running.order(job, code)

    @rule(job=jobs, seconds=times, deaf=st.booleans())
    def job_daemonises(self, job: Job, seconds: float, deaf: bool) -> None:
        """It leaves a process behind, that may not heed TERM."""
        self.running.order(job, Act("daemon", seconds=seconds, deaf=deaf))

    @rule(job=jobs, seconds=times, asleep=st.booleans())
    def job_sleeps(self, job: Job, seconds: float, asleep: bool) -> None:
        """Perhaps uninterruptibly."""
        self.running.order(job, Act("asleep" if asleep else "sleep", seconds=seconds))

    @rule(job=jobs, what=st.sampled_from(("deaf", "read", "shut", "halt")))
    def job_turns(self, job: Job, what: str) -> None:
        """Deaf to TERM; to its input, to read it to its end; away from it; or it stands still, as
        after a SIGSTOP."""
        self.running.order(job, Act(what))

    # The machine.

    @rule(
        what=st.sampled_from(
            ("full", "eio", "short", "records", "audit", "works", "unrecorded", "storage")
        ),
        number=st.integers(0, 3),
    )
    def disk_fails(self, what: str, number: int) -> None:
        """It is full or broken, writes little at a time, or takes no record or audit line; or
        it works again."""
        if what == "works":
            self.running.happens(self.running.world.disk.works_again)
        else:
            self.running.cause(Fault(what, number=number))

    @rule(whose=st.sampled_from((0, 1, 2, 3)))
    def connections_cut(self, whose: int) -> None:
        """Alice's, Bob's or all; 3: Alice's, without a word to her."""
        self.running.cause(Fault("cut", number=whose))

    @rule(seconds=times)
    def network_stalls(self, seconds: float) -> None:
        """Nothing arrives for so long."""
        self.running.cause(Fault("stall", seconds=seconds))

    @rule(effects=st.one_of(st.none(), st.integers(0, 30)))
    def server_crashes(self, effects: int | None) -> None:
        """Now, or before it does so many more things to the world; the next one takes over."""
        if effects is None:
            self.running.cause(Fault("crash"))
        else:
            self.running.crash_at(self.running.world.process.effects + effects)

    @rule(number=st.integers(0, 3), seconds=times)
    def files_change(self, number: int, seconds: float) -> None:
        """A client is out for a while, or has lost verbs; 0 and 2: Alice."""
        self.running.cause(Fault("reload", number=number, seconds=seconds))

    @rule(how=st.sampled_from(("leave", "shutdown", "supervisor")))
    def server_ends(self, how: str) -> None:
        """Its jobs run on; or it ends them in good order; or the supervisor dies with them."""
        self.running.cause(Fault(how))

    @rule(seconds=times)
    def time_passes(self, seconds: float) -> None:
        """And what is due in it happens."""
        self.running.passes(seconds)

    @rule(seconds=st.sampled_from(TIMES_S[-4:]))
    def more_time_passes(self, seconds: float) -> None:
        """Enough for an answer."""
        self.running.passes(seconds)
