"""What is kept of output and history, as a policy says it."""

from dataclasses import dataclass, field
from typing import Protocol

from ..policy.policy_file import Policy
from .backends.base import JobSpec
from .output.output_quota import OutputBound
from .output.retention import Retention


class BoundOf(Protocol):
    """A function that says how much of a job's output is kept."""

    def __call__(self, spec: JobSpec, /) -> OutputBound:
        """The bound of a job with this spec."""
        ...


def unbounded(spec: JobSpec) -> OutputBound:  # noqa: ARG001  as a BoundOf is called
    """The library's default: every byte is kept."""
    return OutputBound()


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How much there may be, in bytes on the disk: of each job, each client, and in all."""

    bound_of: BoundOf = unbounded
    client_bytes: int | None = None
    server_bytes: int | None = None
    retention: Retention = field(default_factory=Retention)


def keeping(policy: Policy) -> RetentionSettings:
    """The settings that a policy asks for. A job whose command the policy has dropped meanwhile has
    the defaults of ``[output]``."""
    output = policy.output
    default = OutputBound(output.job_bytes, output.when_full)
    bounds = {
        name: OutputBound(command.output_bytes, command.when_full)
        for name, command in policy.commands.items()
    }

    def bound_of(spec: JobSpec) -> OutputBound:
        return bounds.get(spec.command, default)

    return RetentionSettings(
        bound_of,
        output.client_bytes,
        output.server_bytes,
        Retention(output.keep_s, output.keep_jobs),
    )
