"""An error as fields of JSON: its code, its reason and its details."""

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo

from ..client.identity import IdentityError
from ..client.verify import OutputBroken
from ..pki.certificate_errors import CertificateError
from ..pki.key_mode import KeyModeError
from ..rpc.call_errors import ConnectionLost, HandshakeFailed, RpcError, StatusCode
from .descriptors import OutputFailed
from .flags import SettingsError

# What we find ourselves: the gRPC status that a server would have answered, and a word of ours.
_OWN = (
    (SettingsError, "INVALID_ARGUMENT", "SETTINGS"),
    (KeyModeError, "INVALID_ARGUMENT", "SETTINGS"),
    (IdentityError, "INVALID_ARGUMENT", "SETTINGS"),
    (CertificateError, "FAILED_PRECONDITION", "CERTIFICATE"),
    (OutputBroken, "DATA_LOSS", "OUTPUT_INCOMPLETE"),
    (OutputFailed, "ABORTED", "OUTPUT_FAILED"),
    (OSError, "INVALID_ARGUMENT", "SYSTEM"),
)


def fields_of(error: BaseException) -> dict[str, object]:
    """``code``, ``reason`` and ``details`` of an expected error; nothing of any other."""
    if isinstance(error, RpcError):
        return _of_call(error)
    for kind, code, reason in _OWN:
        if isinstance(error, kind):
            return {"code": code, "reason": reason}
    return {}


def _of_call(error: RpcError) -> dict[str, object]:
    fields: dict[str, object] = {"code": error.code.name}
    if error.code is StatusCode.NOT_FOUND:
        fields["reason"] = "JOB_NOT_FOUND"  # as the server has it: by a name we have looked it up
    if isinstance(error, ConnectionLost):
        fields["reason"] = (
            "HANDSHAKE_FAILED" if isinstance(error, HandshakeFailed) else "CONNECTION_LOST"
        )
    for detail in error.details:
        if isinstance(detail, ErrorInfo):
            fields["reason"] = detail.reason
    if error.details:
        fields["details"] = [_shown(detail) for detail in error.details]
    return fields


def _shown(detail: Message) -> dict[str, object]:
    """As protobuf has an Any in JSON: its type, then its fields."""
    fields = MessageToDict(detail, preserving_proto_field_name=True)
    return {"@type": f"type.googleapis.com/{detail.DESCRIPTOR.full_name}", **fields}
