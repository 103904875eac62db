"""The command line that a job was started by, as its user typed it (pure)."""

from ..proto import command_pb2 as pb
from .shell_words import shell_line


def typed_line(job: pb.Job) -> str:
    """On one line, quoted where that is needed. Of a server that does not say what was typed, what
    became of that: with the words that the policy has put in front of it. "" without a command."""
    typed = job.given.values if job.HasField("given") else job.argv[1:]
    return shell_line([job.command, *typed]) if job.command else ""
