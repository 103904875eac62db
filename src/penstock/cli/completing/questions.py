"""The calls behind completion. Apart from ``live``, because they need Trio and gRPC."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from google.protobuf.json_format import MessageToDict

from ...client.client import Client
from ...client.first_connection import connect
from ...client.retry import is_away
from ...proto import command_pb2 as pb
from ...rpc.call_errors import ConnectionLost, RpcError
from ...text.job_text import sentence
from ..connection_settings import endpoint_of
from ..exits import EXPECTED
from ..flags import Settings
from ..typed_line import typed_line
from .live import MOST_JOBS

BOUND_S: Final = 1.0
"""For the whole question, connecting included: the user waits at the keyboard."""
_LONGEST_LINE: Final = 60


def ask_server(settings: Settings, question: str, about: str) -> list[Any] | None:
    """The answer, made of what JSON can hold; empty if the server refuses it, None if there was
    none in time."""

    async def ask() -> list[Any]:
        endpoint = endpoint_of(settings)
        # Scope K0.completion.
        with trio.fail_after(BOUND_S):
            async with connect(endpoint, connect_timeout_s=0) as client:
                return await QUESTIONS[question](client, about)

    try:
        return trio.run(ask)
    except RpcError as error:
        return None if is_away(error) or isinstance(error, ConnectionLost) else []
    except (*EXPECTED, trio.TooSlowError):
        return None


async def _unfinished(client: Client, prefix: str) -> list[Any]:
    return _shown(await client.jobs(prefix=prefix, most=MOST_JOBS))


async def _all(client: Client, prefix: str) -> list[Any]:
    return _shown(await client.jobs(include_finished=True, prefix=prefix, most=MOST_JOBS))


def _shown(jobs: list[pb.Job]) -> list[Any]:
    """What stands for each job, a line about it, and whether it has finished."""
    return [
        (
            [text for text in (job.name, job.handle) if text],
            _about(job),
            job.state == pb.JOB_STATE_FINISHED,
        )
        for job in jobs
    ]


def _about(job: pb.Job) -> str:
    text = sentence(job).removeprefix(f"Job {job.handle} ").removeprefix("is ").removesuffix(".")
    line = typed_line(job)
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE - 3]}..."
    return f"{line} ({text})"


async def _commands(client: Client, _: str) -> list[Any]:
    """Name, usage, and slots as protobuf's JSON has them."""
    answer = await client.who_am_i()
    return [
        (
            command.name,
            command.description or (command.usage[0] if command.usage else command.program),
            MessageToDict(command, preserving_proto_field_name=True).get("slots", []),
        )
        for command in answer.commands
    ]


QUESTIONS: Final[dict[str, Callable[[Client, str], Awaitable[list[Any]]]]] = {
    "jobs": _unfinished,
    "all jobs": _all,
    "commands": _commands,
}
"""What each question asks, by its name; of JSON's types, so that an answer can be kept."""
