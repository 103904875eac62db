"""Who asks, may they, and of which job; each decision one line in the audit log.

Between a decision and what it allows there is no checkpoint.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from purerpc.grpclib.status import StatusCode

from . import authz
from .audit import AuditError, AuditLog
from .authn import Identity
from .jobs.errors import JobError
from .jobs.job import Job
from .jobs.manager import Manager
from .quota import QuotaExceeded, Quotas
from .refusals import Refusals, bounded
from .requests import handle_of
from .rpc.errors import RpcError
from .statuses import denied, from_job_error, retryable, unauthenticated
from .supervisor.policy import Client, Policy

_MAX_MESSAGE: Final = 1024  # of a refusal, which can name a whole grammar


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


class Decisions:
    """What every handler begins with. ``identity`` on a request's context comes from authn."""

    def __init__(
        self,
        manager: Manager,
        policy: Policy,
        audit: AuditLog,
        clock: Callable[[], float],
        refusals: Refusals | None = None,
    ) -> None:
        """``clock`` gives monotonic seconds, for the quotas. ``refusals`` bounds what is written
        down of them; without it only their lines are short."""
        self._manager = manager
        self._policy = policy
        self._audit = audit
        self._quotas = Quotas(clock)
        self._refusals = refusals

    def _client(self, request: Any, verb: str | None, **about: object) -> Client:
        """The policy's entry of who asks. ``verb`` None: no grant is needed."""
        identity: Identity = request.context.identity
        client = authz.client_of(self._policy, identity.client_id)
        if client is None:
            decision = authz.Decision(False, f"{identity.client_id} is no client of this server")
            self._record(identity.client_id, verb or "info", decision, **about)
            raise unauthenticated(decision.message)
        if verb is not None:
            decision = authz.may_call(client, verb)
            if not decision.allowed:
                self._record(client.id, verb, decision, **about)
                raise denied(decision.message)
        return client

    def _job(
        self, request: Any, verb: str, pid: str, *, granted: bool = True
    ) -> tuple[Client, Job]:
        """The caller and its own job; foreign and unknown ones are the same NOT_FOUND.

        ``granted`` False: more is to be checked, and whoever does records that it was granted.
        """
        client = self._client(request, verb, handle=pid[:64])
        with self._refusals_recorded(client.id, verb, handle=pid[:64]):
            handle = handle_of(pid)
            with translated():
                job = self._manager.get(handle, owner=client.id)
        if granted:
            self._record(client.id, verb, authz.Decision(True), handle=job.handle, job=job.id)
        return client, job

    @contextmanager
    def _refusals_recorded(self, client_id: str, verb: str, **about: object) -> Iterator[None]:
        try:
            yield
        except (QuotaExceeded, JobError, RpcError) as error:
            message = error.message if isinstance(error, RpcError) else str(error)
            self._record(client_id, verb, authz.Decision(False, message), **about)
            raise

    def _record(self, client_id: str, verb: str, decision: authz.Decision, **about: object) -> None:
        """One line per decision. A refusal stands even if it cannot be written down.

        Raises RpcError in place of a refusal that is one too many of this client's.
        """
        if not decision.allowed:
            wait_s = self._refusals.take(client_id) if self._refusals else None
            if wait_s is not None:
                raise retryable(
                    StatusCode.RESOURCE_EXHAUSTED,
                    "REFUSALS",
                    "too many requests were refused within a minute; look at why before the next",
                    wait_s,
                )
            about = bounded(about)
        try:
            self._audit.write(
                "decision",
                client=client_id,
                verb=verb,
                allowed=decision.allowed,
                message=decision.message[:_MAX_MESSAGE],
                **about,
            )
        except AuditError as error:
            if decision.allowed and verb == "start":  # a stop must be possible always
                raise retryable(
                    StatusCode.UNAVAILABLE, "AUDIT", "this cannot be recorded now", 5.0
                ) from error
