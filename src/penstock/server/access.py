"""Who asks, may they, and of which job; each decision one line in the audit log.

Between a decision and what it allows there is no checkpoint.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from purerpc.grpclib.status import StatusCode

from ..jobs.job import Job
from ..jobs.job_errors import JobError
from ..jobs.manager import Manager
from ..policy.decision import Denial, may_call
from ..policy.policy_file import ClientPolicy, Policy
from ..rpc.call_errors import RpcError
from ..rpc.turns import FairTurns
from .audit import AuditError, AuditLog
from .audit_lines import bounded
from .authn import Identity
from .error_status import bad_field, denied, from_job_error, retryable, unauthenticated
from .methods import METHODS, SERVICE
from .parse import handle_of
from .rate_limits import QuotaExceeded, Quotas
from .refusal_budget import RefusalBudget
from .repeat_budget import RepeatBudget

_MAX_MESSAGE: Final = 1024  # of a refusal, which can name a whole grammar
_REFUSED_BYTES: Final = 1024  # of each text of a refusal's line, of which there may be many


@contextmanager
def translated() -> Iterator[None]:
    """Job errors and full quotas become statuses; anything else is a bug and passes."""
    try:
        yield
    except JobError as error:
        raise from_job_error(error) from error
    except QuotaExceeded as error:
        raise retryable(
            StatusCode.RESOURCE_EXHAUSTED, "QUOTA", str(error), error.retry_after_s
        ) from error


def error_of(denial: Denial) -> RpcError:
    """What the caller hears of it."""
    match denial.kind:
        case "client":
            return unauthenticated(denial.message)
        case "form" | "length":
            return bad_field(denial.field, denial.message)
        case "policy":
            return denied(denial.message)


class Access:
    """What every handler begins with. ``identity`` on a request's context comes from authn."""

    def __init__(
        self,
        manager: Manager,
        policy: Policy,
        audit: AuditLog,
        clock: Callable[[], float],
        refusals: RefusalBudget | None = None,
        repeats: RepeatBudget | None = None,
    ) -> None:
        """``clock`` gives monotonic seconds, for the quotas. ``refusals`` bounds what is written
        down of them, ``repeats`` what of grants that change nothing; without them each has its
        line."""
        self._manager = manager
        self._policy = policy
        self._audit = audit
        self._quotas = Quotas(clock)
        self._refusals = refusals
        self._repeats = repeats
        self._start_turns = FairTurns()

    def admit(self, identity: Any, service: str, name: str) -> None:
        """Before anything of a request is kept: who asks, and may they at all? Raises RpcError.

        Other services than ours (health, reflection) ask the policy nothing.
        """
        if service != SERVICE:
            return
        method = METHODS[name]
        client = self._asking(identity, method.verb)
        if method.costly:
            verb = method.verb or name
            with translated(), self._refusals_recorded(client.id, verb):
                self._quotas.take_costly(client)

    def _client(self, request: Any, verb: str | None, **about: object) -> ClientPolicy:
        """The policy's entry of who asks. ``verb`` None: no grant is needed."""
        return self._asking(request.context.identity, verb, **about)

    def _asking(self, identity: Identity, verb: str | None, **about: object) -> ClientPolicy:
        client = may_call(self._policy, identity.client_id, verb)
        if isinstance(client, Denial):
            self._record(identity.client_id, verb or "info", client, **about)
            raise error_of(client)
        return client

    def _job(
        self, request: Any, verb: str, pid: str, *, granted: bool = True
    ) -> tuple[ClientPolicy, Job]:
        """The caller and its own job; foreign and unknown ones are the same NOT_FOUND.

        ``granted``: it is a read, and recorded as one. False: more is to be checked, and whoever
        does records that it was granted.
        """
        client = self._client(request, verb, handle=pid[:64])
        with self._refusals_recorded(client.id, verb, handle=pid[:64]):
            handle = handle_of(pid)
            with translated():
                job = self._manager.get(handle, owner=client.id)
        if granted:
            self._record_read(client.id, verb, handle=job.handle, job=job.id)
        return client, job

    @contextmanager
    def _refusals_recorded(self, client_id: str, verb: str, **about: object) -> Iterator[None]:
        try:
            yield
        except (QuotaExceeded, JobError, RpcError) as error:
            message = error.message if isinstance(error, RpcError) else str(error)
            self._record(client_id, verb, Denial(message), **about)
            raise

    def _record(self, client_id: str, verb: str, denial: Denial | None, **about: object) -> None:
        """One line per decision; None is a grant. A refusal stands even if it cannot be written.

        Raises RpcError in place of a refusal that is one too many of this client's.
        """
        if denial is not None:
            wait_s = self._refusals.take(client_id) if self._refusals else None
            if wait_s is not None:
                raise retryable(
                    StatusCode.RESOURCE_EXHAUSTED,
                    "REFUSALS",
                    "too many requests were refused within a minute; look at why before the next",
                    wait_s,
                )
            about = bounded(about, _REFUSED_BYTES)
        try:
            self._write(client_id, verb, denial, about)
        except AuditError as error:
            if denial is None and verb == "start":  # a stop must be possible always
                raise retryable(
                    StatusCode.UNAVAILABLE, "AUDIT", "this cannot be recorded now", 5.0
                ) from error

    def _record_read(self, client_id: str, verb: str, **about: object) -> None:
        """A grant that changes nothing and that no quota bounds: again and again it is a count."""
        about = bounded(about, _REFUSED_BYTES)
        if self._repeats is None or self._repeats.take(client_id, verb, about):
            try:
                self._write(client_id, verb, None, about)
            except AuditError:
                if self._repeats is not None:
                    self._repeats.not_written(client_id, verb, about)

    def _write(
        self, client_id: str, verb: str, denial: Denial | None, about: Mapping[str, object]
    ) -> None:
        self._audit.write(
            "decision",
            client=client_id,
            verb=verb,
            allowed=denial is None,
            message="" if denial is None else denial.message[:_MAX_MESSAGE],
            **about,
        )
