"""What can go wrong with a job, by whose fault it is (pure)."""


class JobError(Exception):
    """Base of everything this library raises on purpose. The text is meant for people."""


class InvalidRequest(JobError):
    """The caller's fault: no system in any state would take this. ``field`` names the culprit."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NotGranted(JobError):
    """The policy does not grant this command line."""


class JobNotFound(JobError):
    """No such job, or not the asker's. The text is the same for both."""

    def __init__(self, handle: str) -> None:
        super().__init__(f"Job {handle} not found")
        self.handle = handle


class RequestConflict(JobError):
    """The request id was used before with another body."""


class Precondition(JobError):
    """Right request, wrong state of the world. ``reason`` is a stable word for programs, and
    ``about`` what else they may want to know."""

    def __init__(self, reason: str, message: str, **about: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.about = about


class Exhausted(JobError):
    """A quota is used up; trying again later can help."""


class Unavailable(JobError):
    """Not now: draining, the supervisor is gone, or the policy is being replaced."""


class NotRecorded(Unavailable):
    """The job has ended, and the disk takes no record of that now. Tried again by itself; asking
    again is safe."""


class SupervisorSilent(Unavailable):
    """The supervisor does not answer. What was asked may happen once it does; to ask again under
    the same request id, or for the same state, is safe."""


class InputGap(JobError):
    """Input that does not go on where the last has ended: ``accepted`` is where that is."""

    def __init__(self, message: str, accepted: int) -> None:
        super().__init__(message)
        self.accepted = accepted


class InputTakenOver(JobError):
    """Somebody who came later sends the job's input now."""


class OffsetPastEnd(JobError):
    """A reader asked for bytes that have not been produced; ``next_offset`` is where they begin."""

    def __init__(self, offset: int, next_offset: int) -> None:
        super().__init__(f"offset {offset} is past the end; the next byte will be {next_offset}")
        self.offset = offset
        self.next_offset = next_offset
