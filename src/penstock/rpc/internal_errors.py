"""What a client gets for a bug of the server's: an id, by which an operator finds it in the log."""

import logging
import secrets
from collections.abc import Callable
from typing import TypeAlias

from .call_errors import RpcError, StatusCode

log = logging.getLogger("penstock.rpc")

OnInternalError: TypeAlias = Callable[[str, BaseException], None]
"""Called with the id that the client gets, and the exception that it does not."""


def log_internal_error(error_id: str, error: BaseException) -> None:
    """The default report: logs the exception with ``error_id``, which is all the client sees."""
    log.error("internal error %s", error_id, exc_info=error)


def reported(on_internal_error: OnInternalError, failure: Exception) -> RpcError:
    """The client's error for a bug, with an id alone; ``on_internal_error`` gets the exception.

    A failure of that callback is logged, because the call must still get its answer.
    """
    error_id = secrets.token_hex(8)
    try:
        on_internal_error(error_id, failure)
    except Exception:
        log.exception("the report of internal error %s failed", error_id)
    return RpcError(StatusCode.INTERNAL, f"internal error {error_id}")
