"""watch: every change of one's own jobs as a line, without end and without a hole."""

from collections.abc import Sequence

import trio

from ..client.watch import JobWatcher
from ..proto import command_pb2 as pb
from ..text.job_text import end_text
from .connecting import Connecting, endpoint_for
from .descriptors import OutputFailed
from .ending_signals import HUNG_UP
from .error_report import report_line
from .exits import EXPECTED, exit_code, may_go_on, message
from .failures import Exit, fail
from .flags import Settings
from .invocation import current
from .job_names import handle_of
from .printing import json_line, timestamp
from .reconnect import SaidNews
from .signal_handling import caught_signals, hangs_up
from .standard import complain, encoded
from .terminal import harmless
from .typed_line import typed_line
from .writing import drain, write

_STATES = {
    pb.JOB_STATE_STARTING: "is starting",
    pb.JOB_STATE_RUNNING: "is running",
    pb.JOB_STATE_STOPPING: "is being stopped",
    pb.JOB_STATE_ENDING: "is ending",
}


async def watch(
    settings: Settings, pids: tuple[str, ...], after: int | None, reconnect: float
) -> int:
    """Prints changes until a signal comes or the server is lost; returns the exit status.

    Cancellation: minimum cleanup; C22, C63.
    """
    printer = _ChangePrinter(settings, pids, after)
    async with caught_signals() as signals:
        # Scope K0.watch.
        with trio.CancelScope() as scope:
            # Cancels K0.watch.
            signals.react = scope.cancel
            try:
                handles = [await handle_of(settings, pid, reads=True) for pid in pids]
                watcher = JobWatcher(
                    await endpoint_for(settings),
                    after=after,
                    handles=handles,
                    give_up_s=reconnect,
                    news=_WatchNews(reconnect),
                    connecting=Connecting(settings),
                    connect_timeout_s=settings.connect_timeout_s,
                )
                await watcher.deliver(printer.take)
            except OutputFailed as error:
                if error.reader_left:
                    return 0  # as behind ``| head``, whose user knows that it cuts
                code = HUNG_UP if error.hung_up and hangs_up() else Exit.FAILURE
                fail(f"Error: {error}{printer.go_on()}", code)
            except EXPECTED as error:
                go_on = printer.go_on() if may_go_on(error) else ""
                fail(f"Error: {message(error)}{go_on}", exit_code(error))
    go_on = printer.go_on() or "; watch again with: penstock watch"
    report_line(f"Detached{go_on}", signals.exit_code)
    return signals.exit_code


class _WatchNews(SaidNews):
    def resumed(self, offset: int) -> None:
        complain(f"Connected again; the changes go on behind number {offset}")


class _ChangePrinter:
    """Prints messages of a watch; knows behind which one it can be resumed."""

    def __init__(self, settings: Settings, pids: Sequence[str], after: int | None) -> None:
        self._json = settings.json
        self._pids = pids
        self._written = after

    async def take(self, change: pb.WatchResponse) -> None:
        """Writes one message. Raises OutputFailed.

        Cancellation: minimum cleanup.
        """
        if self._json:
            await write(current().out, f"{json_line(change)}\n".encode())
        elif change.handle:
            await write(current().out, encoded(f"{change_line(change)}\n"))
        if change.resync:
            complain(
                "Changes are missing here, which the server cannot give any more; list: "
                "penstock list --all"
            )
            await drain()
        # Not before, because a write that was cut off is to come again.
        self._written = change.sequence

    def go_on(self) -> str:
        if self._written is None:
            return ""
        pids = "".join(f" {harmless(pid)}" for pid in self._pids)
        return f"; go on with: penstock watch{pids} --after {self._written}"


def change_line(change: pb.WatchResponse) -> str:
    """When, which job, what it became, and its command line as one would type it."""
    job = change.job
    who = f"{change.handle} ({job.name})" if job.name else change.handle
    text = f"{timestamp(change.time_ns)} {who:<12} {_what(change):<24} "
    return f"{harmless(text)}{typed_line(job)}".replace("\n", "\\n").rstrip()


def _what(change: pb.WatchResponse) -> str:
    if change.removed:
        return "was removed"
    if change.HasField("paused"):
        return "is paused" if change.paused else "runs on"
    if change.state == pb.JOB_STATE_FINISHED:
        # The job as it is now has its end: nothing comes after that.
        return end_text(change.job.end).removesuffix(".") if change.HasField("job") else "has ended"
    return _STATES.get(change.state, "has changed")
