"""How a call fails: a gRPC status with its details, and what caused it (pure)."""

import enum
from collections.abc import Iterable

from google.protobuf.message import Message

from .status_codes import StatusCode

__all__ = ["ConnectionLost", "HandshakeFailed", "Reason", "Refused", "RpcError", "StatusCode"]


class RpcError(Exception):
    """A status that is not OK. A handler raises it so that the client receives it; a channel
    raises it with what the server answered.

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
        """The server has not begun the call and never will, so that the caller may repeat it
        elsewhere, even a call that must run only once (RFC 9113 8.7)."""


class Refused(RpcError):
    """The transport's own answer to a call or message that it rejects. ``kind`` is for counters."""

    def __init__(self, kind: str, code: StatusCode, message: str) -> None:
        super().__init__(code, message)
        self.kind = kind


class ConnectionLost(RpcError):
    """The server is out of reach: an UNAVAILABLE that the channel raises, not the server.

    Whether a call that was under way has had its effect is unknown, unless ``not_begun``.
    ``may_pass``: the next attempt to connect may succeed, because this one was refused, reset, cut
    off, or sent away by a server that ends. Without it another attempt would fail the same way: a
    name does not resolve, a network has no route, or TLS or a limit has rejected the client.
    """

    def __init__(self, message: str, *, may_pass: bool = False, not_begun: bool = False) -> None:
        super().__init__(StatusCode.UNAVAILABLE, message)
        self.may_pass = may_pass
        self.not_begun = not_begun


class HandshakeFailed(ConnectionLost):
    """TLS failed: one side rejected the other's certificate, name, version or protocol.

    No part of any call was sent. Another attempt does not help, unless it ``may_pass``, because a
    server that is killed in the middle of a handshake looks like one that rejects it.
    """

    certificates: tuple[bytes, ...] = ()
    """What the server had sent of them, in DER, its own first, where we have refused these."""


class Reason(enum.Enum):
    """What ended a call from outside its handler; docs/rpc.md has the table."""

    RESET = "reset"
    """The client has cancelled the call, so no status is sent."""
    DISCONNECTED = "disconnected"
    """The connection is gone, so no status can be sent."""
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"
    REVOKED = "revoked"
    """The client's certificate was revoked."""
    CLIENT_REVOKED = "client revoked"
    """The client was revoked, by its id, whatever certificate it has."""
    UNACCEPTED = "no longer accepted"
    """The client's certificate would not be accepted any more: of its CA, or of its form."""
    WITHDRAWN = "withdrawn"
    """The client may stay, but has lost its right to this call."""
    EXPIRED = "expired"
    """The client's certificate has expired."""
    STALLED = "stalled"
    """The client did not read for ``Limits.stream_stall_s``."""

    @property
    def error(self) -> RpcError | None:
        """The status for the client; None where the client cannot receive one any more."""
        match self:
            case Reason.DEADLINE:
                return RpcError(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")
            case Reason.SHUTDOWN:
                return RpcError(StatusCode.UNAVAILABLE, "the server is shutting down")
            case Reason.REVOKED:
                return RpcError(StatusCode.UNAUTHENTICATED, "the certificate was revoked")
            case Reason.CLIENT_REVOKED:
                return RpcError(StatusCode.UNAUTHENTICATED, "this client was revoked, by its id")
            case Reason.UNACCEPTED:
                text = "the certificate is not accepted any more"
                return RpcError(StatusCode.UNAUTHENTICATED, text)
            case Reason.WITHDRAWN:
                text = "the right to this call was withdrawn"
                return RpcError(StatusCode.PERMISSION_DENIED, text)
            case Reason.EXPIRED:
                return RpcError(StatusCode.UNAUTHENTICATED, "the certificate has expired")
            case Reason.STALLED:
                return RpcError(StatusCode.RESOURCE_EXHAUSTED, "the client does not read")
            case _:
                return None
