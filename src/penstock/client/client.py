"""The Python client: one connection, one method per RPC, errors as RpcError.

async with connect(Endpoint("127.0.0.1", 8443, ca, certificate, key)) as client:
    job = await client.start("ls", ["-la", "/srv"])
    async with client.stream(job.handle) as messages:
        async for message in messages:
            ...
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeVar

from google.protobuf.message import Message

from ..proto import command_pb2 as pb
from ..rpc.channel import Channel, ClientCall
from .pages import Pages

MessageT = TypeVar("MessageT", bound=Message)

_SERVICE: Final = "teleport.CommandService"


class Client:
    """Calls on one connection; any number at once. Every method raises RpcError, and
    ConnectionLost when the server is out of reach. Cancelling a call never ends a job.
    """

    def __init__(self, channel: Channel, timeout_s: float | None) -> None:
        self._channel = channel
        self._timeout_s = timeout_s

    @property
    def channel(self) -> Channel:
        """What it calls on, which knows whether the server is there."""
        return self._channel

    async def start(
        self,
        command: str,
        arguments: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        request_id: str = "",
        timeout_s: float = 0.0,
        stdin: bool = False,
        name: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> pb.Job:
        """Starts a job; ``timeout_s`` is how long it may run, ``stdin`` opens its input.
        Completes on the server. Raises TypeError if ``arguments`` is one text, whose characters
        would each become an argument.

        By ``name`` and ``labels`` ``jobs`` finds it. One unfinished job of the client has a name at
        a time; for another one it is ALREADY_EXISTS, reason NAME_IN_USE.

        Cancellation: completes; C4.
        """
        request = pb.StartRequest(
            command=command,
            argv=_words(arguments),
            env=env,
            request_id=request_id,
            timeout_s=timeout_s,
            stdin=stdin,
            name=name,
            labels=labels,
        )
        return (await self._call("Start", request, pb.StartResponse)).job

    async def check_start(
        self,
        command: str,
        arguments: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 0.0,
        stdin: bool = False,
    ) -> None:
        """Returns if the policy grants this start, which is not made; raises the RpcError that it
        would raise otherwise. Quotas are not looked at, because they may be free by then.

        Cancellation: atomic; C4.
        """
        request = pb.StartRequest(
            command=command,
            argv=_words(arguments),
            env=env,
            timeout_s=timeout_s,
            stdin=stdin,
            validate_only=True,
        )
        await self._call("Start", request, pb.StartResponse)

    async def stop(
        self,
        handle: str,
        *,
        grace_s: float | None = None,
        reason: str = "",
        signal: str = "",
        no_wait: bool = False,
    ) -> pb.StopResponse:
        """Ends a job's whole tree, by ``signal`` ("TERM") or the command's own first. Completes
        on the server. No time limit of its own: it takes as long as the grace.

        Cancellation: completes; C6.
        """
        request = pb.StopRequest(
            pid=handle, grace_s=grace_s, reason=reason, signal=signal, no_wait=no_wait
        )
        return await self._channel.unary(_SERVICE, "Stop", request, pb.StopResponse)

    async def signal(self, handle: str, signal: str, *, tree: bool = False) -> int:
        """Sends a signal ("HUP", "10") to a job's main process, or to all; to how many.

        Cancellation: completes; C18.
        """
        request = pb.SignalRequest(pid=handle, signal=signal, tree=tree)
        return (await self._call("Signal", request, pb.SignalResponse)).processes

    async def pause(self, handle: str) -> pb.Job:
        """Makes every process of a job stand still. Completes on the server.

        Cancellation: completes; C18.
        """
        return (await self._call("Pause", pb.PauseRequest(pid=handle), pb.PauseResponse)).job

    async def resume(self, handle: str) -> pb.Job:
        """Lets a paused job run on. Completes on the server.

        Cancellation: completes; C18.
        """
        return (await self._call("Resume", pb.ResumeRequest(pid=handle), pb.ResumeResponse)).job

    def send_input(self) -> AbstractAsyncContextManager[ClientCall[pb.SendInputResponse]]:
        """A call to send SendInputRequests on, each answered when it is accepted.

        One connection's worth of it: ``penstock.client.InputSender`` resumes after a loss.
        """
        return self._channel.open_call(_SERVICE, "SendInput", pb.SendInputResponse)

    async def status(self, handle: str) -> pb.StatusResponse:
        """What a job is doing and using now. For a handle that is not the client's: NOT_FOUND.

        Cancellation: atomic.
        """
        return await self._call("Status", pb.StatusRequest(pid=handle), pb.StatusResponse)

    async def wait(self, handle: str) -> pb.Job:
        """Returns when the job has ended, with its end record. No time limit of its own.

        Cancellation: minimum cleanup; C8.
        """
        request = pb.WaitRequest(pid=handle)
        return (await self._channel.unary(_SERVICE, "Wait", request, pb.WaitResponse)).job

    async def jobs(
        self,
        *,
        include_finished: bool = False,
        states: Sequence[pb.JobState] = (),
        command: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        label_keys: Sequence[str] = (),
        since_ns: int = 0,
        prefix: str = "",
        most: int | None = None,
    ) -> list[pb.Job]:
        """This client's unfinished jobs, or with ``include_finished`` all; newest first.

        Only those that match all of the rest: in one of ``states``, instead of what
        ``include_finished`` says; of this ``command``; of this ``name``; with these ``labels``, and
        with ``label_keys`` of any value; started at ``since_ns`` (UTC, since 1970) or later; with
        a handle or a name that begins with ``prefix``. At most the first ``most``; no checkpoint
        if that is 0. RpcError (INTERNAL) for a list without end, as ``pages`` has it.

        Cancellation: atomic.
        """
        jobs: list[pb.Job] = []
        request = pb.ListRequest(
            all=include_finished,
            states=states,
            command=command,
            name=name,
            labels=labels,
            label_keys=label_keys,
            since_ns=since_ns,
            prefix=prefix,
        )
        pages = Pages("jobs")
        while most is None or len(jobs) < most:
            request.page_size = 1000 if most is None else min(1000, most - len(jobs))
            answer = await self._call("List", request, pb.ListResponse)
            jobs += answer.jobs
            request.page_token = pages.next(answer, len(answer.jobs))
            if not request.page_token:
                break
        return jobs

    async def server_info(self) -> pb.ServerInfoResponse:
        """What the server is and what it can enforce.

        Cancellation: atomic.
        """
        return await self._call("ServerInfo", pb.ServerInfoRequest(), pb.ServerInfoResponse)

    async def who_am_i(self, command: str = "", *, commands: bool = True) -> pb.WhoAmIResponse:
        """As which client the server knows us, our quotas, and the commands that are granted to us:
        all of them, ``command`` alone, or none. PERMISSION_DENIED if ``command`` is not granted;
        INTERNAL for a list without end, as ``pages`` has it.

        Cancellation: atomic; C43.
        """
        request = pb.WhoAmIRequest(
            command=command, no_commands=not commands and not command, page_size=1000
        )
        answer = page = await self._call("WhoAmI", request, pb.WhoAmIResponse)
        pages = Pages("commands")
        while token := pages.next(page, len(page.commands)):
            request.page_token = token
            page = await self._call("WhoAmI", request, pb.WhoAmIResponse)
            answer.commands.extend(page.commands)
        answer.next_page_token = ""
        return answer

    async def remove(self, handle: str) -> pb.Job:
        """Removes a finished job and its output; returns the job as it was. FAILED_PRECONDITION if
        it still runs.

        Cancellation: completes.
        """
        request = pb.RemoveRequest(pid=handle)
        return (await self._call("Remove", request, pb.RemoveResponse)).job

    def stream(
        self,
        handle: str,
        *,
        offset: int = 0,
        tail_lines: int | None = None,
        since_ns: int = 0,
        streams: Sequence[pb.Stream] = (),
        follow: bool = True,
        raw: bool = True,
        heartbeat_s: float = 0.0,
    ) -> AbstractAsyncContextManager[ClientCall[pb.StreamOutputResponse]]:
        """Messages of a job's output; the last one of a finished job has ``finished``.

        One connection's worth of it, unchecked: ``penstock.client.Follower`` resumes after a loss.
        ``offset``, ``tail_lines`` (0: what is new) and ``since_ns`` (UTC, since 1970) exclude
        each other.
        """
        request = pb.StreamOutputRequest(
            pid=handle,
            offset=offset,
            tail_lines=tail_lines,
            since_ns=since_ns,
            streams=streams,
            no_follow=not follow,
            raw=raw,
            heartbeat_s=heartbeat_s,
        )
        return self._channel.server_stream(
            _SERVICE, "StreamOutput", request, pb.StreamOutputResponse
        )

    def watch(
        self,
        *,
        after: int | None = None,
        states: Sequence[pb.JobState] = (),
        command: str = "",
        handles: Sequence[str] = (),
        name: str = "",
        labels: Mapping[str, str] | None = None,
        label_keys: Sequence[str] = (),
        prefix: str = "",
        heartbeat_s: float = 0.0,
    ) -> AbstractAsyncContextManager[ClientCall[pb.WatchResponse]]:
        """Changes of this client's jobs, behind the ``sequence`` of an earlier message or from now
        on. The first message has a ``sequence`` alone, or with ``resync``: then list all jobs.
        Only changes to one of ``states``, of one of ``handles`` (at most 100), and of jobs
        that match the rest as in ``jobs``; a job that is not there any more does.

        One connection's worth of it: ``penstock.client.JobWatcher`` resumes after a loss.
        """
        request = pb.WatchRequest(
            after=after,
            heartbeat_s=heartbeat_s,
            states=states,
            command=command,
            handles=handles,
            name=name,
            labels=labels,
            label_keys=label_keys,
            prefix=prefix,
        )
        return self._channel.server_stream(_SERVICE, "Watch", request, pb.WatchResponse)

    async def _call(self, method: str, request: Message, response_type: type[MessageT]) -> MessageT:
        return await self._channel.unary(
            _SERVICE, method, request, response_type, timeout_s=self._timeout_s
        )


def _words(arguments: Sequence[str]) -> Sequence[str]:
    """Raises TypeError for one text, whose characters would each become an argument."""
    if isinstance(arguments, str | bytes):
        raise TypeError(f"arguments is one text; write [{arguments!r}]")
    return arguments
