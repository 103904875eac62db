"""One line of audit for each decision, bounded in length and in number.

A refusal stands even if its line cannot be written. Whether a grant does is in its method's row in
methods.py.
"""

from collections.abc import Mapping
from typing import Final

from ..rpc.status_codes import StatusCode
from .audit import AuditError, AuditLog
from .audit_lines import bounded
from .error_status import retryable
from .refusal_budget import RefusalBudget
from .repeat_budget import RepeatBudget

_MAX_MESSAGE: Final = 1024  # of a refusal, which can name a whole grammar
_REFUSED_BYTES: Final = 1024  # of each text of a refusal's line, of which there may be many


class DecisionLines:
    """``refusals`` bounds the lines of refusals, ``repeats`` those of grants that change nothing;
    without these budgets each decision has its line."""

    def __init__(
        self,
        audit: AuditLog,
        refusals: RefusalBudget | None = None,
        repeats: RepeatBudget | None = None,
    ) -> None:
        self.repeats = repeats
        self._audit = audit
        self._refusals = refusals

    def refused(self, client_id: str, verb: str, message: str, about: Mapping[str, object]) -> None:
        """Writes the line. Raises RpcError instead of the refusal once the client has too many."""
        wait_s = self._refusals.take(client_id) if self._refusals else None
        if wait_s is not None:
            raise retryable(
                StatusCode.RESOURCE_EXHAUSTED,
                "REFUSALS",
                "too many requests were refused within a minute; look at why before the next",
                wait_s,
            )
        try:
            self._write(client_id, verb, bounded(about, _REFUSED_BYTES), message)
        except AuditError:
            return

    def granted(
        self, client_id: str, verb: str, about: Mapping[str, object], *, before: bool
    ) -> None:
        """Writes the line. Raises RpcError if it failed and the row wants it ``before`` the act."""
        try:
            self._write(client_id, verb, about)
        except AuditError as error:
            if before:
                raise retryable(
                    StatusCode.UNAVAILABLE, "AUDIT", "this cannot be recorded now", 5.0
                ) from error

    def counted(self, client_id: str, verb: str, about: Mapping[str, object]) -> None:
        """For a grant that changes nothing and has no quota: repeated ones become a count."""
        about = bounded(about, _REFUSED_BYTES)
        if self.repeats is None or self.repeats.take(client_id, verb, about):
            try:
                self._write(client_id, verb, about)
            except AuditError:
                if self.repeats is not None:
                    self.repeats.not_written(client_id, verb, about)

    def _write(
        self, client_id: str, verb: str, about: Mapping[str, object], refusal: str | None = None
    ) -> None:
        self._audit.write(
            "decision",
            client=client_id,
            verb=verb,
            allowed=refusal is None,
            message=(refusal or "")[:_MAX_MESSAGE],
            **about,
        )
