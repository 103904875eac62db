"""The seam between jobs and where they run, so that a cluster can take this machine's place."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ...supervisor.ipc.from_supervisor import Changed, Left, ReplacedFile
from ...supervisor.ipc.started import Started
from ..job_spec import JobSpec as JobSpec  # by this name embedders know it

VerdictKind = Literal["exited", "signaled", "lost"]


@dataclass(frozen=True, slots=True)
class InputPipes:
    """Descriptors of a job's input, the receiver's to close; see input.py. None of them blocks.

    What is written to ``job_fd`` the job reads; ``read_fd`` and ``write_fd`` are the ends of a pipe
    that outlives this process, for what is accepted and has no room there yet.
    """

    job_fd: int
    read_fd: int
    write_fd: int


@dataclass(frozen=True, slots=True)
class JobPipes:
    """Descriptors of a job, the receiver's to close. ``stderr_fd`` None: merged into stdout;
    ``input`` None: it has none, or its end was sent."""

    stdout_fd: int
    stderr_fd: int | None = None
    input: InputPipes | None = None


@dataclass(frozen=True, slots=True)
class StartedJob:
    """What a start became, and the pipes, which come with the answer once and never again."""

    started: Started
    pipes: JobPipes


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job that an earlier server has started. It runs on, or has ended while no server was
    connected."""

    id: str
    owner: str
    started: Started
    pipes: JobPipes


@dataclass(frozen=True, slots=True)
class StartRefused:
    """Nothing was started, and nothing is left behind. ``fault`` is one of protocol's."""

    fault: str
    message: str


OnReplaced = Callable[[Sequence[ReplacedFile]], None]
"""Records in the audit log what was replaced; if it raises, nothing starts."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a job's processes ended, once none of them is left."""

    kind: VerdictKind
    code: int | None = None  # exit code or signal number
    timed_out: bool = False
    processes_killed: int = 0  # leftovers and members killed by KILL
    counters: Mapping[str, Any] = field(default_factory=dict)  # final, see usage.py
    detail: str = ""
    escalated: bool = False  # KILL was needed when its time was over
    storage_full: bool = False  # it was ended: it had more on the disk than its class allows


class Backend(Protocol):
    """Where jobs run. Methods named async are checkpoints; cancelling one never ends a job."""

    on_limits_changed: Callable[[Changed], None]
    """Called whenever the backend finds that a job's limits were changed; the manager sets it. It
    must not block."""
    on_paused: Callable[[str], None]
    """Called with the id of a job for which ``is_paused`` may have changed, before ``set_paused``
    returns; the manager sets it. It must not block."""

    @property
    def generation(self) -> str:
        """The name of what is in force now, by which starts are decided."""
        ...

    async def wait_generation_after(self, generation: str) -> None:
        """Returns once another generation than this one is in force.

        Cancellation: atomic; C73.
        """
        ...

    async def start(
        self,
        job_id: str,
        spec: JobSpec,
        owner: str,
        *,
        generation: str | None = None,
        on_replaced: OnReplaced | None = None,
    ) -> StartedJob | StartRefused:
        """Starts a job of ``owner``, if that client is granted it.

        ``generation``: by which it was decided, None for the one in force; refused (STALE_POLICY)
        if another one is in force where jobs run. ``on_replaced`` is called, in no checkpoint,
        before a program runs whose file was replaced.
        Cancelled: completes; the job may run, and is the caller's to stop.

        Cancellation: completes; C4.
        """
        ...

    async def take_held(self) -> list[HeldJob]:
        """What an earlier server has started and not released. Call it once, before any start.

        From then on they are as if this process had started them. Cancelled: the next server
        can take them.

        Cancellation: minimum cleanup; C13.
        """
        ...

    async def wait_main_exited(self, job_id: str) -> None:
        """Returns once the main process was reaped (at once if it was before).

        Cancellation: minimum cleanup; C8.
        """
        ...

    async def wait(self, job_id: str) -> Verdict:
        """Returns when no process of the job is left. May be called again.

        Cancellation: minimum cleanup; C8.
        """
        ...

    async def signal(
        self, job_id: str, number: int, *, tree: bool = False, kill_after_s: float | None = None
    ) -> int:
        """Signals the main process, or all; how many processes got it (0: it is gone).

        ``kill_after_s``, of a stop: the backend itself ends the tree a moment after that, though
        this process may stand still by then, or be dead. Given again, the last one counts.
        Raises Unavailable, not for a stop: too many requests wait already.

        Cancellation: completes; C18.
        """
        ...

    async def set_paused(self, job_id: str, paused: bool) -> str:
        """Returns "" when all processes stand still, or run on; otherwise why they do not.

        Raises Unavailable as ``signal`` if they are to stand still.

        Cancellation: completes; C18.
        """
        ...

    def is_paused(self, job_id: str) -> bool:
        """Whether the job is paused, by the last message about it. No checkpoint."""
        ...

    async def inspect(self, job_id: str) -> list[Left]:
        """The processes that are left of it, up to some number; empty also if that cannot be known.

        Cancellation: minimum cleanup.
        """
        ...

    def holds_limits(self) -> bool:
        """Is there anything that ``look_at_limits`` could look at?"""
        ...

    async def look_at_limits(self, job_id: str) -> None:
        """Returns when the limits that the kernel holds for the job were read again, and what was
        not as it was set was put back, or cannot be now; ``on_limits_changed`` is called before.
        Raises Unavailable and SupervisorSilent as ``signal``.

        Cancellation: minimum cleanup; C18b.
        """
        ...

    async def answered(self, wait: Callable[[], Awaitable[object]]) -> bool:
        """Waits for what this backend is to bring about; True if it came. False once it seems that
        it cannot, because nothing was heard of the process that holds the jobs for some seconds.
        signal, set_paused and inspect raise SupervisorSilent then.

        Cancellation: minimum cleanup; C26.
        """
        ...

    def is_silent(self) -> bool:
        """Whether that process has been silent for some seconds, so that nothing should be begun
        now."""
        ...

    def close_input(self, job_id: str) -> None:
        """The caller has closed its descriptors: the last copies go, and the job reads an end."""
        ...

    async def kill(self, job_id: str) -> int:
        """Sends KILL to the whole group; how many processes it had, 0 if they could not be counted.
        They may still be dying when it returns: ``wait`` returns when none is left.

        Cancellation: completes; C5.
        """
        ...

    def release(self, job_id: str) -> None:
        """The end record is durable, so group, counters and working directory may go. A job that
        still runs is killed. No checkpoint."""
        ...

    def capabilities(self) -> Mapping[str, Any]:
        """What this host can do: mode, kind, boot_id, policy (its hash), and limits, a list of
        Enforcement."""
        ...
