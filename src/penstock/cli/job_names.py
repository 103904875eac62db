"""Which job a word of the command line stands for: a handle, a name, or the beginning of one.

A handle goes to the server as it is, without a call more. Any other word is looked up among the
client's own jobs: an exact name (of the unfinished job, otherwise of the newest finished one), then
the beginning of exactly one name.

A beginning, of a handle or of a name, stands for a job only where a verb reads, and that of a
handle only once the server does not know it as a handle itself. A verb that changes something must
never hit another job because the one that was meant is gone: it fails, and names what may have been
meant.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..client.client import Client
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError, StatusCode
from .connecting import asked
from .flags import Settings
from .standard import complain
from .terminal import harmless

ResultT = TypeVar("ResultT")

# The kernel's pid, and a number behind it where an earlier job has had the same.
_HANDLE: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,10})?", re.ASCII)
# As the server has it of StartRequest.name.
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}", re.ASCII)
_UNFINISHED: Final = (
    pb.JOB_STATE_STARTING,
    pb.JOB_STATE_RUNNING,
    pb.JOB_STATE_STOPPING,
    pb.JOB_STATE_ENDING,
)
# Fewer digits are rather a mistake of typing than a part of what is meant.
_LEAST_DIGITS: Final = 3
_SHOWN: Final = 5  # candidates of an error
# Looked up for a beginning. With more, names may be among the rest that are not known.
_LOOKED_UP: Final = 1000


async def on_job(
    client: Client,
    word: str,
    call: Callable[[str], Awaitable[ResultT]],
    *,
    reads: bool,
) -> ResultT:
    """What ``call`` returns for the handle that ``word`` stands for; ``reads``: it changes nothing,
    so the beginning of a handle or a name is enough.

    Raises what ``call`` raises, and RpcError: NOT_FOUND if the word stands for no job (with a note
    of those that it may have meant), INVALID_ARGUMENT if it is the beginning of several names.

    Cancellation: minimum cleanup.
    """
    if not _HANDLE.fullmatch(word):
        return await call(await _named(client, word, reads=reads))
    try:
        return await call(word)
    except RpcError as error:
        if error.code is not StatusCode.NOT_FOUND:
            raise
        other = await _instead(client, word, error, reads=reads)
    return await call(other)


async def handle_of(settings: Settings, word: str, *, reads: bool) -> str:
    """The handle that ``word`` stands for, for a verb with connections of its own. The word itself
    if it may be a handle: then ``instead_of`` is for the error that the server does not know it.
    Raises as ``on_job``.

    No checkpoint for a word that may be a handle.

    Cancellation: minimum cleanup.
    """
    if _HANDLE.fullmatch(word):
        return word
    return await asked(settings, lambda client: _named(client, word, reads=reads))


async def instead_of(settings: Settings, word: str, error: RpcError, *, reads: bool) -> str:
    """As ``on_job`` has it: the handle that begins with ``word``, which the server does not know as
    one. Raises ``error`` if there is none.

    Cancellation: minimum cleanup.
    """
    return await asked(settings, lambda client: _instead(client, word, error, reads=reads))


async def _instead(client: Client, word: str, error: RpcError, *, reads: bool) -> str:
    """The handle that begins with ``word``, which the server does not know as one (``error``);
    reports on standard error that this one is taken. Raises the error if there is none or several,
    or not ``reads``; with a note of those that may have been meant."""
    if len(word) < _LEAST_DIGITS or not _HANDLE.fullmatch(word):
        raise error
    jobs = await client.jobs(include_finished=True, prefix=word, most=_LOOKED_UP)
    handles = [job.handle for job in jobs]
    # 48213.2 is not meant by 48213: that was another job, which is gone.
    if reads and len(handles) == 1 and not handles[0].startswith(f"{word}."):
        complain(f"{harmless(word)} stands for job {harmless(handles[0])}")
        return handles[0]
    if handles:
        error.add_note(f"did you mean {_listed(handles)}?")
    raise error


async def _named(client: Client, word: str, *, reads: bool) -> str:
    if not _NAME.fullmatch(word):
        return word  # which the server answers like a job that is not there
    # One at a time, because a job of every night has left hundreds of its name.
    jobs = await client.jobs(states=_UNFINISHED, name=word, most=1)
    if not jobs:
        jobs = await client.jobs(include_finished=True, name=word, most=1)
    if jobs:
        return jobs[0].handle
    # One more than is looked at, which says whether there are more.
    jobs = await client.jobs(include_finished=True, prefix=word, most=_LOOKED_UP + 1)
    names = sorted({job.name for job in jobs if job.name.startswith(word)})
    if not names or not reads:
        error = RpcError(StatusCode.NOT_FOUND, f"Job {word} not found")
        if names:
            error.add_note(f"did you mean {_listed(names)}?")
        raise error
    if len(names) > 1:
        text = f"{word} is the beginning of several jobs' names: {_listed(names)}"
        raise RpcError(StatusCode.INVALID_ARGUMENT, text)
    if len(jobs) > _LOOKED_UP:
        text = f"{word} begins the names of more than {_LOOKED_UP} jobs; write the whole name"
        raise RpcError(StatusCode.INVALID_ARGUMENT, text)
    unfinished = [job for job in jobs if job.state != pb.JOB_STATE_FINISHED]
    return (unfinished or jobs)[0].handle


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} or {more} others" if more > 1 else ", ".join(names[: _SHOWN + 1])
