"""The calls behind completion. Apart from ``live``, because they need Trio and gRPC."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from ...client.client import Client, connect
from ...proto import command_pb2 as pb
from ...text.job_text import sentence
from ..connection_settings import endpoint_of
from ..exits import EXPECTED
from ..flags import Settings
from ..shell_words import shell_line

BOUND_S: Final = 1.0
"""For the whole question, connecting included: the user waits at the keyboard."""
_LONGEST_LINE: Final = 60


def ask_server(settings: Settings, name: str) -> list[Any] | None:
    """The answer, made of what JSON can hold; None if there was none in time."""

    async def ask() -> list[Any]:
        endpoint = endpoint_of(settings)
        # Scope K0.completion.
        with trio.fail_after(BOUND_S):
            async with connect(endpoint, connect_timeout_s=0) as client:
                return await _QUESTIONS[name](client)

    try:
        return trio.run(ask)
    except (*EXPECTED, trio.TooSlowError):
        return None


async def _unfinished(client: Client) -> list[Any]:
    return _shown(await client.jobs())


async def _all(client: Client) -> list[Any]:
    return _shown(await client.jobs(include_finished=True))


def _shown(jobs: list[pb.Job]) -> list[Any]:
    """What stands for each job, a line about it, and whether it has finished."""
    return [(job.handle, _about(job), job.state == pb.JOB_STATE_FINISHED) for job in jobs]


def _about(job: pb.Job) -> str:
    text = sentence(job).removeprefix(f"Job {job.handle} ").removeprefix("is ").removesuffix(".")
    line = shell_line([job.command, *job.argv[1:]])
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE - 3]}..."
    return f"{line} ({text})"


_QUESTIONS: Final[dict[str, Callable[[Client], Awaitable[list[Any]]]]] = {
    "jobs": _unfinished,
    "all jobs": _all,
}
