"""What every call begins with: caller, verb, job and quota, as its row of methods.py says.

Every refusal on the way is a line of audit, and so is the grant. A refusal before the job is looked
up has the handle from the request in its line, because no job is known yet; a later one has the
job's id instead.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn, ParamSpec, Protocol, TypeVar

from ..jobs.job import Job
from ..jobs.job_errors import JobError
from ..jobs.manager import Manager
from ..policy.decision import Denial, may_call
from ..policy.policy_file import ClientPolicy, Policy
from ..rpc.call_errors import RpcError, StatusCode
from ..rpc.server_call import CallContext
from .authn import Identity
from .decision_lines import DecisionLines
from .error_status import bad_field, denied, from_job_error, retryable, unauthenticated
from .generation import InForce
from .methods import METHODS, SERVICE, Method
from .parse import handle_of
from .rate_limits import QuotaExceeded, Quotas

P = ParamSpec("P")
T = TypeVar("T")
_LOGGED_HANDLE: Final = 64  # characters of a handle that was not looked up yet


class HandlerRequest(Protocol):
    """What a handler gets beside its message: purerpc's event, with a context of ``rpc``."""

    @property
    def context(self) -> CallContext:
        """The caller's context; its ``identity`` is an Identity of authn."""
        ...


@contextmanager
def translated() -> Iterator[None]:
    """Turns job errors and full quotas into statuses; anything else is a bug and passes."""
    try:
        yield
    except JobError as error:
        raise from_job_error(error) from error
    except QuotaExceeded as error:
        raise retryable(
            StatusCode.RESOURCE_EXHAUSTED, "QUOTA", str(error), error.retry_after_s
        ) from error


def error_of(denial: Denial) -> RpcError:
    """The status that the caller gets for a denial, by the denial's kind."""
    match denial.kind:
        case "client":
            return unauthenticated(denial.message)
        case "form" | "length":
            return bad_field(denial.field, denial.message)
        case "policy":
            return denied(denial.message, denial.rule)


class Access:
    """The calls of all clients. ``identity`` on a request's context comes from authn."""

    def __init__(
        self, manager: Manager, in_force: InForce, quotas: Quotas, lines: DecisionLines
    ) -> None:
        self.manager = manager
        self.in_force = in_force
        self.quotas = quotas
        self.lines = lines

    @property
    def policy(self) -> Policy:
        """The one in force now. Behind a checkpoint it may be another one."""
        return self.in_force.current.policy

    def admit(self, identity: Identity, service: str, name: str) -> None:
        """Checks client and verb before anything of a request is kept. Raises RpcError.

        Calls of other services (health, reflection) pass: the policy has no rule for them.
        """
        if service != SERVICE:
            return
        method = METHODS[name]
        call = AskedCall(self, method, identity, {})
        if method.costly:
            with call.refusals():
                self.quotas.take_costly(call.client)

    def begin(
        self,
        name: str,
        request: HandlerRequest,
        message: Any,  # noqa: ANN401  of the method's request type
    ) -> "AskedCall":
        """Applies the method's row: client, verb, job, a signal's quota. Raises RpcError."""
        call = self.asked(name, request, message)
        if call.method.job:
            call.find_job(message.pid)
        return call

    def asked(
        self,
        name: str,
        request: HandlerRequest,
        message: Any = None,  # noqa: ANN401  of the method's request type
        **about: object,
    ) -> "AskedCall":
        """Checks client and verb only, for a call whose form is checked before its job.

        ``about`` are further fields of its audit lines. Raises RpcError.
        """
        method = METHODS[name]
        if method.job and message is not None:
            about = {"handle": message.pid[:_LOGGED_HANDLE]}
        return AskedCall(self, method, request.context.identity, about)


class AskedCall:
    """One call, from its caller's identity up to the act. No method has a checkpoint, so that a
    decision still holds when the handler acts on it."""

    client: ClientPolicy
    job: Job
    """The caller's own, once it is found."""

    def __init__(
        self, access: Access, method: Method, identity: Identity, about: Mapping[str, object]
    ) -> None:
        """Raises RpcError: the caller is none of the policy's clients, or has not the verb."""
        self.method = method
        self._access = access
        self._client_id = identity.client_id
        self._verb = method.verb or "info"
        self._about = about
        self._more: Mapping[str, object] = {}
        self.decide_again()

    def decide_again(self) -> None:
        """Checks client and verb, by the policy that is in force now: at first, and behind each
        checkpoint that comes before the act, because another policy may have come there. Raises
        RpcError."""
        client = may_call(self._access.policy, self._client_id, self.method.verb)
        if isinstance(client, Denial):
            self._access.lines.refused(self._client_id, self._verb, client.message, self._about)
            raise error_of(client)
        self.client = client

    def says(self, **about: object) -> None:
        """Adds fields to the call's audit lines from now on."""
        self._about = about

    def form(self, parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``parse`` makes of the request. Raises RpcError: its form is wrong."""
        with self.refusals():
            return parse(*args, **kwargs)

    def find_job(self, pid: str, **more: object) -> Job:
        """The caller's own job, and what the call takes of a quota because of it.

        Foreign and unknown jobs are the same NOT_FOUND, so that a caller learns nothing of others'
        jobs. ``more`` stands in the lines after what is decided. Raises RpcError.
        """
        self.says(handle=pid[:_LOGGED_HANDLE])
        with self.refusals():
            self.job = self._access.manager.get(handle_of(pid), owner=self.client.id)
        self.says(handle=self.job.handle, job=self.job.id)
        self._more = more
        if self.method.quota == "signal":
            with self.refusals():
                self.take_quota()
        return self.job

    def take_quota(self, running: int = 0) -> None:
        """As the row says. ``running`` are the client's jobs, for a start. Raises QuotaExceeded."""
        match self.method.quota:
            case "start":
                self._access.quotas.take_start(self.client, running)
            case "signal":
                self._access.quotas.take_signal(self.client)
            case "stream":
                self._access.quotas.take_stream(self.client)

    def give_stream(self) -> None:
        """The stream that ``take_quota`` took has ended."""
        self._access.quotas.give_stream(self.client)

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Makes of each error raised in here a refusal: a line of audit, and then a status."""
        try:
            with translated():
                yield
        except RpcError as error:
            self._refused(error.message)
            raise

    def refuse(self, denial: Denial, **decided: object) -> NoReturn:
        """Writes the refusal's audit line, then raises its RpcError."""
        self._refused(denial.message, **decided)
        raise error_of(denial)

    def granted(self, **decided: object) -> None:
        """Writes the grant's line, as the row says. Raises RpcError if that failed and the row
        wants the line before the act."""
        grant = self.method.grant
        if grant == "counted":
            self.counted(**decided)
        elif grant != "none":
            self._access.lines.granted(
                self.client.id, self._verb, self._line(decided), before=grant == "before"
            )

    def counted(self, **decided: object) -> None:
        """Records the grant as one that changes nothing, whatever the row says."""
        self._access.lines.counted(self.client.id, self._verb, self._line(decided))

    def _refused(self, message: str, **decided: object) -> None:
        self._access.lines.refused(self.client.id, self._verb, message, self._line(decided))

    def _line(self, decided: Mapping[str, object]) -> dict[str, object]:
        return {**self._about, **decided, **self._more}
