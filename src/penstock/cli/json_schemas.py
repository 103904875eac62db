"""JSON Schemas of what ``-o json`` prints, made of the messages' descriptors (pure).

One version for all of them: it changes only if a reader of an older one could be misled. A field
that is added does not change it, so readers ignore what they do not know.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from ..proto import command_pb2 as pb

VERSION: Final = 1

_ERROR_TITLE: Final = "An error's line on standard error, of any verb with -o json"
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_OUTPUT: Final = "StreamOutputResponse"
MESSAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("Job",),
    "run": (_OUTPUT, "Job"),
    "stop": ("StopResponse",),
    "signal": ("SignalResponse",),
    "kill": ("SignalResponse",),
    "pause": ("Job",),
    "resume": ("Job",),
    "send": ("SendInputResponse",),
    "status": ("StatusResponse",),
    "list": ("Job",),
    "rm": ("Job",),
    "stream": (_OUTPUT,),
    "watch": ("WatchResponse",),
    "top": ("StatusResponse",),
    "whoami": ("WhoAmIResponse",),
    "commands": ("GrantedCommand",),
    "attach": (_OUTPUT,),
    "wait": ("Job",),
    "version": ("ServerInfoResponse",),
}
"""By verb: the message of each line; one of them, where there are several."""


def _object(*required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_TEXT: Final[dict[str, Any]] = {"type": "string"}
_FLAG: Final[dict[str, Any]] = {"type": "boolean"}
_CONTEXT: Final = _object(
    "name",
    name=_TEXT,
    address=_TEXT,
    ca=_TEXT,
    certificate=_TEXT,
    key=_TEXT,
    passphrase_file=_TEXT,
    server_name=_TEXT,
    server_fingerprint=_TEXT,
    groups={"type": "array", "items": _TEXT},
    current=_FLAG,
)
_CERTIFICATE: Final[dict[str, Any]] = {
    "kind": {"enum": ["ca", "server", "client"]},
    "certificate": _TEXT,
    "key": _TEXT,
    "name": _TEXT,
    "not_after": _TEXT,  # RFC 3339, UTC
    "cut_to_ca": _FLAG,
    "serial": _TEXT,
    "new_key": _FLAG,
    "encrypted": _FLAG,
}
_ISSUED: Final = [key for key in _CERTIFICATE if key not in ("serial", "new_key", "encrypted")]
_LIST: Final = _object(
    *("kind", "crl", "count", "next_update", "revoked", "commands"),
    kind={"enum": ["crl"]},
    crl=_TEXT,
    count={"type": "integer", "minimum": 0},
    next_update=_TEXT,  # RFC 3339, UTC
    revoked={"type": "array", "items": _object("name", "serial", name=_TEXT, serial=_TEXT)},
    commands={"type": "array", "items": _TEXT},
)
_FILE: Final = _object(
    *("file", "kind", "about", "wrong", "notes"),
    file=_TEXT,
    kind={"enum": ["certificate", "key", "list", "request", "unknown"]},
    about={"type": "object", "additionalProperties": _TEXT},
    wrong={"type": "array", "items": _TEXT},
    notes={"type": "array", "items": _TEXT},
)
_ENTRY: Final = _object(
    *("name", "kind", "serial", "state"),
    name=_TEXT,
    kind={"enum": ["ca", "server", "client", "unlisted"]},
    serial=_TEXT,
    state={"enum": ["valid", "ended", "revoked"]},
    hosts={"type": "array", "items": _TEXT},
    not_after=_TEXT,
)
_SHOWN: Final = _object(
    *("server", "fingerprint", "pinned", "wrong"),
    server=_TEXT,
    fingerprint=_TEXT,
    pinned=_FLAG,
    context=_TEXT,
    subject=_TEXT,
    names=_TEXT,
    issuer=_TEXT,
    serial=_TEXT,
    wrong={"type": "array", "items": _TEXT},
)
_STEP: Final = _object("step", "ok", "detail", step=_TEXT, ok=_FLAG, detail=_TEXT)
_CONNECTION: Final = _object(
    "address",
    address=_TEXT,
    certificate=_TEXT,
    since_s={"type": "number"},
    calls={"type": "integer"},
)
ERROR: Final = "error"
# A message of google.rpc, of which any may come.
_DETAIL: Final = _object("@type", **{"@type": _TEXT}) | {"additionalProperties": {}}
_ERROR: Final = _object(
    "exit_status",
    "message",
    code=_TEXT,
    reason=_TEXT,
    message=_TEXT,
    exit_status={"type": "integer", "minimum": 1, "maximum": 255},
    pid=_TEXT,
    notes={"type": "array", "items": _TEXT},
    details={"type": "array", "items": _DETAIL},
)
# What is no message of the protocol.
_OWN: Final[Mapping[str, dict[str, Any]]] = {
    ERROR: _object("error", error=_ERROR),
    "version": _object("client", client=_TEXT),  # without a server there is ours alone
    "can start": _object(
        "granted",
        granted=_FLAG,
        code=_TEXT,
        reason=_TEXT,
        message=_TEXT,
        rule=_TEXT,
        field=_TEXT,
    ),
    **dict.fromkeys(("context add", "context use", "context ls", "context rm"), _CONTEXT),
    "certs init": _object("kind", "certificate", "key", **_CERTIFICATE),
    **dict.fromkeys(("certs issue", "certs renew"), _object(*_ISSUED, **_CERTIFICATE)),
    **dict.fromkeys(("certs revoke", "certs crl"), _LIST),
    "certs show": {"anyOf": [_FILE, _ENTRY]},
    "certs trust": _SHOWN,
    "agent": _object(
        "name",
        "pid",
        name=_TEXT,
        pid={"type": "integer", "minimum": 0},  # 0: none runs
        own={"type": "boolean"},  # whether front ends like the process that asks use it
        version=_TEXT,
        since_s={"type": "number"},
        running={"type": "integer"},
        served={"type": "integer"},
        passphrases={"type": "integer"},
        connections={"type": "array", "items": _CONNECTION},
    ),
    "context test": _object(
        "steps",
        context=_TEXT,
        address=_TEXT,
        steps={"type": "array", "items": _STEP},
        client_id=_TEXT,
        server_version=_TEXT,
    ),
}
DESCRIBED: Final = tuple(dict.fromkeys((*MESSAGES, *_OWN)))
"""Every verb with -o json, and ERROR, which is what each of them prints on standard error."""

# As protobuf's JSON has them: https://protobuf.dev/programming-guides/json/
_KINDS: Final[Mapping[int, dict[str, Any]]] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    # Texts, because a reader's numbers may be doubles, which have 53 bits.
    FieldDescriptor.TYPE_INT64: {"type": "string", "pattern": "^-?[0-9]{1,19}$"},
    FieldDescriptor.TYPE_UINT64: {"type": "string", "pattern": "^[0-9]{1,20}$"},
    FieldDescriptor.TYPE_DOUBLE: {
        "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]
    },
}


def schema_of(verb: str) -> dict[str, Any]:
    """The schema of each line that the verb prints with -o json, or of ERROR. Raises KeyError for a
    verb that prints none."""
    if verb not in DESCRIBED:
        raise KeyError(verb)
    names = MESSAGES.get(verb, ())
    lines: list[dict[str, Any]] = [{"$ref": f"#/$defs/{name}"} for name in names]
    if verb in _OWN:
        lines.append(_OWN[verb])
    messages = [pb.DESCRIPTOR.message_types_by_name[name] for name in names]
    found = {each.name: _definition(each) for message in messages for each in _within(message)}
    return {
        "$schema": _DRAFT,
        "$id": f"urn:penstock:cli:{VERSION}:{verb.replace(' ', ':')}",
        "title": _ERROR_TITLE if verb == ERROR else f"A line of: penstock -o json {verb}",
        **(lines[0] if len(lines) == 1 else {"anyOf": lines}),
        "$defs": dict(sorted(found.items())),
    }


def _within(message: Descriptor) -> Iterator[Descriptor | EnumDescriptor]:
    """The message, and every one and every enumeration that it can hold."""
    seen: dict[str, Descriptor | EnumDescriptor] = {}
    left: list[Descriptor | EnumDescriptor] = [message]
    while left:
        each = left.pop()
        if each.full_name in seen:
            continue
        seen[each.full_name] = each
        if isinstance(each, Descriptor):
            left += [of for field in each.fields if (of := field.message_type or field.enum_type)]
    return (each for each in seen.values() if not _is_map(each))


def _is_map(each: Descriptor | EnumDescriptor) -> bool:
    return isinstance(each, Descriptor) and bool(each.GetOptions().map_entry)


def _definition(each: Descriptor | EnumDescriptor) -> dict[str, Any]:
    if isinstance(each, EnumDescriptor):
        # A number is a value that this version does not know.
        return {"anyOf": [{"enum": [value.name for value in each.values]}, {"type": "integer"}]}
    return {"type": "object", "properties": {field.name: _property(field) for field in each.fields}}


def _property(field: FieldDescriptor) -> dict[str, Any]:
    of = field.message_type
    if of is not None and _is_map(of):
        return {"type": "object", "additionalProperties": _single(of.fields_by_name["value"])}
    return {"type": "array", "items": _single(field)} if field.is_repeated else _single(field)


def _single(field: FieldDescriptor) -> dict[str, Any]:
    of = field.message_type or field.enum_type
    return {"$ref": f"#/$defs/{of.name}"} if of is not None else _KINDS[field.type]
