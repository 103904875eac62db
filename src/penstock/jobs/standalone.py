"""The library on its own: a Manager with a supervisor that it starts and ends itself."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Final

import trio

from ..concurrency.interrupts import uninterrupted, uninterrupted_context
from ..concurrency.plain_errors import PlainErrors
from ..policy.policy_file import parse_policy
from .backends.local import connect_local
from .job_errors import Unavailable
from .manager import Manager, no_audit, open_manager
from .reporting import Audit
from .retention_settings import keeping

_SUPERVISOR: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "supervisor")
# The supervisor removes what its jobs have left, so killing it sooner would leave groups behind.
_END_S: Final = 30.0


@uninterrupted_context
@contextlib.asynccontextmanager
async def open_local(
    policy: str | os.PathLike[str],
    state_dir: str | os.PathLike[str],
    *,
    cgroup_parent: str | None = None,
    audit: Audit = no_audit,
) -> AsyncIterator[Manager]:
    """Jobs of this process, by the policy in a file, recorded in a directory it holds alone.

    As root every limit of the policy's classes holds; otherwise no limit does, and every
    Job says so. ``cgroup_parent`` (default ``/penstock-<pid>``) is the group that the jobs'
    groups are made in. The supervisor logs to standard error.

    Raises Unavailable if the supervisor does not start (its log says why) or the directory
    is in use; of what the block raises, the error itself, in no group. Leaving the block, also by
    cancellation or ^C, stops all jobs and the supervisor: shielded, bounded, and not to be
    interrupted; ^C comes out of it as KeyboardInterrupt. If this process is killed, the supervisor
    ends every job and itself.

    Cancellation: completes; C12, C28, C40, C50.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-") as run_dir:
        config = _write_config(run_dir, policy, state_dir, cgroup_parent or _own_parent())
        async with (
            _supervisor(config),
            connect_local(os.path.join(run_dir, "run", "supervisor.sock")) as backend,
            open_manager(
                backend,
                os.fspath(state_dir),
                audit=audit,
                keeping=keeping(parse_policy(backend.policy_bytes)),
            ) as manager,
        ):
            yield manager


def _own_parent() -> str:
    return f"/penstock-{os.getpid()}"


def _write_config(
    run_dir: str,
    policy: str | os.PathLike[str],
    state_dir: str | os.PathLike[str],
    cgroup_parent: str,
) -> str:
    """The supervisor's configuration; the path of the file."""
    directory = os.path.abspath(state_dir)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    values = {
        "policy": os.path.abspath(policy),
        "state_dir": directory,
        # Beside the state, so that it is on a real disk: otherwise disk limits could not hold. Not
        # inside it, because jobs of other users must come through.
        "work_root": f"{directory}-work",
        "run_dir": os.path.join(run_dir, "run"),
        "cgroup_parent": cgroup_parent,
    }
    path = os.path.join(run_dir, "config.toml")
    with open(path, "x", encoding="utf-8") as file:
        # A JSON string is a TOML string.
        file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    return path


@uninterrupted_context
@contextlib.asynccontextmanager
async def _supervisor(config: str) -> AsyncIterator[trio.Process]:
    """A supervisor that listens; it has ended when the block is left, or was cancelled before it
    began."""
    errors = PlainErrors()
    with errors.outside():
        # Scope S4.ending.
        async with trio.open_nursery() as nursery:
            with errors.inside():
                parent_read, parent_write = os.pipe2(os.O_CLOEXEC)
                process = None
                try:
                    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
                    try:
                        process = await _open(config, ready_write, parent_read)
                        os.close(ready_write)
                        ready_write = -1
                        await trio.lowlevel.wait_readable(ready_read)
                        ready = os.read(ready_read, 1) == b"R"
                    finally:
                        for fd in (ready_read, ready_write, parent_read):
                            if fd >= 0:
                                os.close(fd)
                    if not ready:
                        raise Unavailable(
                            "the supervisor did not start; its log on standard error says why"
                        )
                    yield process
                finally:
                    os.close(parent_write)  # so that it sees that this process is gone
                    if process is not None:
                        # As a task, because a second ^C would end what this one waits for.
                        nursery.start_soon(_wait_ended, process)


async def _open(config: str, ready_fd: int, parent_fd: int) -> trio.Process:
    return await trio.lowlevel.open_process(
        [
            *(sys.executable, "-I", "-S", "-E", _SUPERVISOR, "--config", config),
            *("--no-server", "--ready-fd", str(ready_fd), "--parent-fd", str(parent_fd)),
        ],
        pass_fds=(ready_fd, parent_fd),
        stdin=subprocess.DEVNULL,
        # A terminal's ^C goes to every process of the foreground. The supervisor must not get it,
        # because this process ends the jobs in order and has their ends recorded.
        start_new_session=True,
    )


@uninterrupted
async def _wait_ended(process: trio.Process) -> None:
    """It ends by itself, or by KILL; either way within _END_S."""
    # Scope S4.standalone.
    with trio.CancelScope(shield=True), trio.move_on_after(_END_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
