"""How a call fails: a gRPC status with its details, and what made it (pure)."""

import enum
from collections.abc import Iterable

from google.protobuf.message import Message
from purerpc.grpclib.status import StatusCode

__all__ = ["ConnectionLost", "HandshakeFailed", "Reason", "Refused", "RpcError", "StatusCode"]


class RpcError(Exception):
    """A status that is not OK. Raised by handlers, it is what the client sees; raised by a
    channel, it is what the server answered.

    ``details`` are google.rpc messages (ErrorInfo, RetryInfo and so on); they travel as
    google.rpc.Status in ``grpc-status-details-bin``. One of a type that this program does
    not know arrives as google.protobuf.Any.
    """

    def __init__(
        self, code: StatusCode, message: str = "", details: Iterable[Message] = ()
    ) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.details: tuple[Message, ...] = tuple(details)
        self.not_begun = False
        """The server has not begun the call and will not, so that it may be repeated elsewhere
        whatever it does (RFC 9113 8.7)."""


class Refused(RpcError):
    """The transport's own answer to what it does not take; ``kind`` is for counters."""

    def __init__(self, kind: str, code: StatusCode, message: str) -> None:
        super().__init__(code, message)
        self.kind = kind


class ConnectionLost(RpcError):
    """The server is out of reach: UNAVAILABLE that no server has said.

    Whether a call that was under way has had its effect is unknown, unless ``not_begun``.
    ``may_pass``: the next attempt to connect may find a server, as this one was refused, reset, cut
    off or sent away by one that ends. Without it nothing has changed by then: a name that does not
    resolve, a network without a route, what TLS or a limit has refused.
    """

    def __init__(self, message: str, *, may_pass: bool = False, not_begun: bool = False) -> None:
        super().__init__(StatusCode.UNAVAILABLE, message)
        self.may_pass = may_pass
        self.not_begun = not_begun


class HandshakeFailed(ConnectionLost):
    """TLS could not be agreed on: a certificate, name, version or protocol was refused.

    Nothing of any call was sent. Trying again does not help, unless it ``may_pass``: a server that
    is killed in the middle of a handshake looks like one that refuses it.
    """


class Reason(enum.Enum):
    """What ended a call from outside its handler; docs/rpc.md has the table."""

    RESET = "reset"
    """The client has cancelled it; nobody hears a status."""
    DISCONNECTED = "disconnected"
    """The connection is gone; nobody hears a status."""
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"
    REVOKED = "revoked"
    """The client may not be here any more."""
    EXPIRED = "expired"
    """The time of the client's certificate is over."""
    STALLED = "stalled"
    """The client did not read for ``Limits.stream_stall_s``."""

    @property
    def error(self) -> RpcError | None:
        """The status for the client, if it can still hear one."""
        match self:
            case Reason.DEADLINE:
                return RpcError(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")
            case Reason.SHUTDOWN:
                return RpcError(StatusCode.UNAVAILABLE, "the server is shutting down")
            case Reason.REVOKED:
                return RpcError(StatusCode.UNAUTHENTICATED, "the certificate was revoked")
            case Reason.EXPIRED:
                return RpcError(StatusCode.UNAUTHENTICATED, "the certificate has expired")
            case Reason.STALLED:
                return RpcError(StatusCode.RESOURCE_EXHAUSTED, "the client does not read")
            case _:
                return None
