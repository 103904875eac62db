"""start, stop, status, list, version: one call, one answer."""

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from .. import __version__
from .settings import Settings

if TYPE_CHECKING:
    from ..proto import command_pb2 as pb

_PASS_ON: Final = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def say(text: str) -> None:
    """One line, seen at once also through a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say_json(message: Any) -> None:
    """A protobuf message as one JSON line; the field names are those of the proto."""
    from google.protobuf.json_format import MessageToDict

    say(json.dumps(MessageToDict(message, preserving_proto_field_name=True)))


@click.command(context_settings=_PASS_ON)
@click.argument("command")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
async def start(settings: Settings, command: str, arguments: tuple[str, ...]) -> None:
    """Starts COMMAND, with everything behind it as its arguments."""
    from ..client import connect
    from .terminal import harmless

    if not settings.json:
        behind = f" with {' '.join(arguments)}" if arguments else ""
        say(f"Starting {command}{behind}...")
    async with connect(settings.endpoint()) as client:
        job = await client.start(command, arguments)
    if settings.json:
        say_json(job)
    else:
        say(f"Success! PID: {harmless(job.handle)}")


@click.command()
@click.argument("pid")
@click.option("--grace", type=float, metavar="SECONDS", help="Between TERM and KILL.")
@click.option("--reason", default="", help="Kept in the end record.")
@click.pass_obj
async def stop(settings: Settings, pid: str, grace: float | None, reason: str) -> None:
    """Ends job PID with its whole process tree; answers when nothing of it is left."""
    from ..client import connect
    from .exits import EXPECTED, exit_code, fail, message
    from .terminal import harmless

    if not settings.json:
        say(f"Stopping {pid}...")
    try:
        async with connect(settings.endpoint()) as client:
            answer = await client.stop(pid, grace_s=grace, reason=reason)
    except EXPECTED as error:
        code = exit_code(error)
        if code == 4:
            raise
        fail(f"Error: {pid} could not be stopped. {message(error)}", code)
    if settings.json:
        say_json(answer)
    else:
        say(harmless(answer.result))


@click.command()
@click.argument("pid")
@click.pass_obj
async def status(settings: Settings, pid: str) -> None:
    """Says what job PID is doing and what it uses."""
    from ..client import connect
    from .terminal import harmless

    if not settings.json:
        say(f"Querying the status of {pid}...")
    async with connect(settings.endpoint()) as client:
        answer = await client.status(pid)
    if settings.json:
        say_json(answer)
    else:
        say(harmless(answer.status))


@click.command(name="list")
@click.option("-a", "--all", "include_finished", is_flag=True, help="Finished jobs too.")
@click.pass_obj
async def list_jobs(settings: Settings, include_finished: bool) -> None:
    """Lists your own jobs, newest first."""
    from ..client import connect
    from .printing import timestamp
    from .terminal import harmless

    async with connect(settings.endpoint()) as client:
        jobs = await client.jobs(include_finished=include_finished)
    if settings.json:
        for job in jobs:
            say_json(job)
        return
    say(f"{'PID':<12} {'CLASS':<10} {'STARTED':<24} {'STATE':<32} COMMAND")
    for job in jobs:
        command = " ".join([job.command, *job.argv[1:]])
        line = (
            f"{job.handle:<12} {job.class_name:<10} {timestamp(job.started_ns):<24} "
            f"{_state(job):<32} {command}"
        )
        say(harmless(line).replace("\n", "\\n"))


def _state(job: "pb.Job") -> str:
    from .. import render

    text = render.sentence(job).removeprefix(f"Job {job.handle} ").removeprefix("is ")
    return text.removesuffix(".")


@click.command()
@click.pass_obj
async def version(settings: Settings) -> None:
    """Says which version this is, and what the server is and can enforce."""
    if not settings.configured():
        say(json.dumps({"client": __version__}) if settings.json else f"penstock {__version__}")
        return
    from ..client import connect
    from .terminal import harmless

    async with connect(settings.endpoint()) as client:
        info = await client.server_info()
    if settings.json:
        say_json(info)
        return
    say(f"penstock {__version__}")
    say(f"server {harmless(info.version)}, you are {harmless(info.client_id)}")
    say(harmless(f"mode: {info.mode}, cgroups: {info.cgroups}"))
    for entry in info.limits:
        detail = f" ({entry.detail})" if entry.detail else ""
        say(harmless(f"  {entry.limit:<12} {entry.state}{detail}"))
    for warning in info.warnings:
        say(f"WARNING: {harmless(warning)}")


COMMANDS: Final = {
    "start": start,
    "stop": stop,
    "status": status,
    "list": list_jobs,
    "version": version,
}
