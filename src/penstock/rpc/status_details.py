"""google.rpc.Status of ``grpc-status-details-bin``, to bytes and back (pure).

Apart from ``status_codec``, which imports it with the first failure, because most calls of the
command line have none.
"""

from google.protobuf import symbol_database
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ErrorInfo  # registers the other types, too

from .call_errors import RpcError


def packed_details(error: RpcError, message: str, domain: str) -> bytes:
    """The status with its details. One without any gets an ErrorInfo of ``domain``, so that
    programs can tell the transport's refusals apart, too."""
    details = error.details or (ErrorInfo(reason=error.code.name, domain=domain),)
    status = status_pb2.Status(code=error.code.value, message=message)
    for detail in details:
        status.details.add().Pack(detail)
    packed: bytes = status.SerializeToString()
    return packed


def unpacked_details(value: bytes) -> list[Message]:
    """The details. Empty where they cannot be parsed, because the status is valid without them."""
    try:
        return [_unpacked(detail) for detail in status_pb2.Status.FromString(value).details]
    except DecodeError:
        return []


def _unpacked(packed: AnyMessage) -> Message:
    try:
        message: Message = symbol_database.Default().GetSymbol(packed.TypeName())()
    except KeyError:
        return packed
    packed.Unpack(message)
    return message
