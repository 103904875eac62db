"""The methods that a server serves, and how a request's bytes become their messages.

A message is counted by its wire form before it is parsed (wire_fields.py). Methods whose messages
may be large have them parsed in slices, each in a turn of the event loop (turns.py).
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import purerpc
from google.protobuf.message import DecodeError, Message

from .call_errors import Refused, StatusCode
from .limits import Limits, MessageLimits
from .wire_fields import FieldCounter

Turn: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]
"""Makes the client's next turn of the event loop, for a slice of what costs much (turns.py)."""


@dataclass(frozen=True, slots=True)
class ServedMethod:
    """A served method: purerpc's BoundRPCMethod, and the bounds of its request messages."""

    bound: Any
    messages: FieldCounter


Methods: TypeAlias = Mapping[str, Mapping[str, ServedMethod]]
"""Service name to method name to the method."""


def served_methods(
    services: Iterable[purerpc.Service], limits: Limits, others: Mapping[str, MessageLimits]
) -> dict[str, dict[str, ServedMethod]]:
    """The methods of ``services``, whose messages have the bounds of ``limits`` but for ``others``.

    Raises ValueError: a method of ``others`` is not served, or a field of it is not there.
    """
    usual = MessageLimits(limits.message_bytes, limits.message_fields)
    found: dict[str, dict[str, ServedMethod]] = {}
    used = set[str]()
    for service in services:
        of_service = found.setdefault(service.name, {})
        for name, bound in service.methods.items():
            path = f"{service.name}/{name}"
            used.add(path)
            descriptor = bound.signature.request_type.DESCRIPTOR
            of_service[name] = ServedMethod(
                bound, FieldCounter(descriptor, others.get(path, usual))
            )
    if unknown := sorted(others.keys() - used):
        raise ValueError(f"message limits for {unknown[0]}, which is not served")
    return found


async def parsed(method: ServedMethod, data: bytes, turn: Turn) -> Any:  # noqa: ANN401  its type
    """A request message out of its bytes, checked by its method's bounds. Raises RpcError.

    No checkpoint unless the method parses one message a turn.

    Cancellation: atomic.
    """
    if not method.messages.limits.one_a_turn:
        method.messages.check(data)
        return _merged(method, None, data)
    # In pieces, because merging those gives the same message as parsing the whole
    # (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    message, begin = None, 0
    ends = method.messages.ends(data)
    while True:
        async with turn():
            end = next(ends, None)
            if end is None:
                break
            message = _merged(method, message, data[begin:end])
            begin = end
    # Another turn, because the caller works with the message before its next checkpoint.
    async with turn():
        return message


def _merged(method: ServedMethod, message: Message | None, data: bytes) -> Message:
    """Adds ``data`` to ``message``, or to a new one for None. Raises Refused if that fails."""
    request_type = method.bound.signature.request_type
    if message is None:
        message = request_type()
    try:
        message.MergeFromString(data)
        return message
    except DecodeError:
        name = request_type.DESCRIPTOR.full_name
        raise Refused(
            "unparsable", StatusCode.INVALID_ARGUMENT, f"the message is not a {name}"
        ) from None
