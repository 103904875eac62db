"""Encodes statuses as trailers and decodes them, google.rpc details included (pure)."""

import base64
from collections.abc import Mapping
from typing import Final

from google.protobuf.message import Message

from .call_errors import RpcError, StatusCode
from .http2.events import Headers
from .http2.protocol_errors import REFUSED_STREAM
from .limits import Limits
from .metadata import decode_binary, percent_decoded, percent_encoded

__all__ = ["error_from_reset", "error_from_trailers", "trailers_of"]

DOMAIN: Final = "penstock"  # of every ErrorInfo
_OK: Final[Headers] = [(b"grpc-status", b"0")]

# gRPC over HTTP/2, "HTTP2 Transport Mapping": error codes of RST_STREAM.
_RESET_CODES: Final = {
    REFUSED_STREAM: StatusCode.UNAVAILABLE,  # not processed
    8: StatusCode.CANCELLED,  # CANCEL
    11: StatusCode.RESOURCE_EXHAUSTED,  # ENHANCE_YOUR_CALM
    12: StatusCode.PERMISSION_DENIED,  # INADEQUATE_SECURITY
}
_CODES: Final = {b"%d" % code.value: code for code in StatusCode}
# http-grpc-status-mapping.md
_HTTP_CODES: Final = {
    400: StatusCode.INTERNAL,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.UNIMPLEMENTED,
    429: StatusCode.UNAVAILABLE,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.UNAVAILABLE,
}


def trailers_of(error: RpcError | None, limits: Limits) -> Headers:
    """The trailers of a status; None is OK.

    A message that is too long for the peer's header limit is cut, and such details are left out.
    ``error.message`` may be any object, because handlers pass what they have. Anything else that is
    wrong with the error raises TypeError, AttributeError and so on.
    """
    if error is None:
        return _OK
    headers: Headers = [(b"grpc-status", b"%d" % error.code.value)]
    message = _sendable(error.message)
    if message:
        text = percent_encoded(message, limits.metadata_message_bytes)
        headers.append((b"grpc-message", text))
    from .status_details import packed_details  # with the first failure, as its docstring says

    encoded = base64.b64encode(packed_details(error, message[:1024], DOMAIN)).rstrip(b"=")
    if len(encoded) <= limits.metadata_details_bytes:
        headers.append((b"grpc-status-details-bin", encoded))
    return headers


def _sendable(message: object) -> str:
    """``message`` as text that UTF-8 can encode. Handlers pass file names with surrogates, None,
    or bytes."""
    if message is None:
        return ""
    if isinstance(message, bytes):
        return message.decode("utf-8", "replace")
    return str(message).encode("utf-8", "replace").decode("utf-8")


def error_from_trailers(fields: Mapping[bytes, bytes]) -> RpcError | None:
    """The server's status as an error; None is OK. ``fields`` have been checked."""
    raw = fields.get(b"grpc-status")
    if raw is None:
        http = fields.get(b":status", b"200")
        if http == b"200":
            return RpcError(StatusCode.UNKNOWN, "the server ended the call without a status")
        number = int(http) if http.isdigit() and len(http) == 3 else 0
        code = _HTTP_CODES.get(number, StatusCode.UNKNOWN)
        return RpcError(code, f"the server answered with HTTP status {number}")
    if raw == b"0":
        return None
    code = _CODES.get(raw, StatusCode.UNKNOWN)  # "00" is no status, least of all OK
    message = percent_decoded(fields.get(b"grpc-message", b""))
    return RpcError(code, message, _details(fields.get(b"grpc-status-details-bin")))


def error_from_reset(code: int) -> RpcError:
    """The status that a server's RST_STREAM stands for."""
    status = _RESET_CODES.get(code, StatusCode.INTERNAL)
    error = RpcError(status, f"the server reset the call (HTTP/2 error {code})")
    error.not_begun = code == REFUSED_STREAM
    return error


def _details(value: bytes | None) -> list[Message]:
    """The details in grpc-status-details-bin. Empty where they cannot be parsed, because the
    status is valid without them."""
    if value is None:
        return []
    from .status_details import unpacked_details  # as above

    try:
        return unpacked_details(decode_binary(value))
    except RpcError:  # no Base64
        return []
