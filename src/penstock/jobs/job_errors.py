"""What can go wrong with a job, by whose fault it is (pure)."""


class JobError(Exception):
    """Base of everything this library raises on purpose. The text is meant for people."""


class InvalidRequest(JobError):
    """The caller's fault, so trying again cannot help. ``field`` names what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NotGranted(JobError):
    """The policy does not grant this command line."""


class JobNotFound(JobError):
    """No such job, or another client's. The text is the same for both, so that a client cannot
    find out which handles there are."""

    def __init__(self, handle: str) -> None:
        super().__init__(f"Job {handle} not found")
        self.handle = handle


class RequestConflict(JobError):
    """The request id was used before with another body."""


class NameInUse(JobError):
    """Another unfinished job of the same owner has the name. ``handle`` is that job's; "" while it
    is being started."""

    def __init__(self, name: str, handle: str) -> None:
        which = f"job {handle}" if handle else "a job that is being started"
        super().__init__(
            f"{which} has the name {name!r} and has not finished; take another name, or wait for "
            "its end"
        )
        self.name = name
        self.handle = handle


class Precondition(JobError):
    """The request is right, but job or host are not in a state for it. ``reason`` is a stable word
    for programs, and ``about`` what else they may need, texts by name."""

    def __init__(self, reason: str, message: str, **about: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.about = about


class Exhausted(JobError):
    """A quota is used up; trying again later can help."""


class Unavailable(JobError):
    """Not now: draining, the supervisor is gone, or the policy is being replaced."""


class NotRecorded(Unavailable):
    """The job has ended, and the disk takes no record of that now. The server tries again by
    itself, so asking again is safe."""


class SupervisorSilent(Unavailable):
    """The supervisor does not answer. What was asked may happen once it does, so it is safe to ask
    again under the same request id, or for the same state, but not to assume that it failed."""


class InputGap(JobError):
    """Input that does not begin where the accepted input ends: byte ``accepted``."""

    def __init__(self, message: str, accepted: int) -> None:
        super().__init__(message)
        self.accepted = accepted


class InputTakenOver(JobError):
    """Another caller sends the job's input now, because it claimed it later."""


class OffsetPastEnd(JobError):
    """A reader asked for bytes that have not been produced; ``next_offset`` is where they begin."""

    def __init__(self, offset: int, next_offset: int) -> None:
        super().__init__(f"offset {offset} is past the end; the next byte will be {next_offset}")
        self.offset = offset
        self.next_offset = next_offset
