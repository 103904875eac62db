"""grpc.health.v1: reports whether this server takes calls, by gRPC's health checking protocol."""

from collections.abc import AsyncGenerator, Iterable
from typing import Final, Protocol

import purerpc
import trio
from google.protobuf.message import Message

from .call_errors import RpcError, StatusCode
from .schema import Schema

SERVICE: Final = "grpc.health.v1.Health"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3

SCHEMA: Final = Schema(
    "grpc/health/v1/health.proto",
    "grpc.health.v1",
    {
        "HealthCheckRequest": [("service", 1, "string")],
        "HealthCheckResponse": [("status", 1, "HealthCheckResponse.ServingStatus")],
    },
    (
        "Health",
        [
            ("Check", "HealthCheckRequest", "HealthCheckResponse", False, False),
            ("Watch", "HealthCheckRequest", "HealthCheckResponse", False, True),
        ],
    ),
    enums={
        "HealthCheckResponse.ServingStatus": [
            "UNKNOWN",
            "SERVING",
            "NOT_SERVING",
            "SERVICE_UNKNOWN",
        ]
    },
)
HealthCheckRequest: Final = SCHEMA.message("HealthCheckRequest")
HealthCheckResponse: Final = SCHEMA.message("HealthCheckResponse")


class ServiceNamed(Protocol):
    """A HealthCheckRequest, whose class is made at run time."""

    service: str


class Health:
    """One state for the server and all its services; the empty name is the server."""

    def __init__(self, services: Iterable[str]) -> None:
        self._known = frozenset((*services, SERVICE, ""))
        self._serving = True
        self._changed = trio.Event()

    def set_serving(self, serving: bool) -> None:
        """Sets the state, and wakes every watcher if it has changed. No checkpoint."""
        if serving is not self._serving:
            self._serving = serving
            self._changed.set()
            self._changed = trio.Event()

    def _status(self, service: str) -> int:
        if service not in self._known:
            return SERVICE_UNKNOWN
        return SERVING if self._serving else NOT_SERVING

    async def check(
        self,
        message: ServiceNamed,
        request: object,  # noqa: ARG002  every handler gets one
    ) -> Message:
        """The state now. Raises RpcError NOT_FOUND for a service that this server does not have.

        No checkpoint.

        Cancellation: atomic.
        """
        status = self._status(message.service)
        if status == SERVICE_UNKNOWN:
            raise RpcError(StatusCode.NOT_FOUND, f"no service {message.service[:200]}")
        answer: Message = HealthCheckResponse(status=status)
        return answer

    async def watch(
        self,
        message: ServiceNamed,
        request: object,  # noqa: ARG002  every handler gets one
    ) -> AsyncGenerator[Message, None]:
        """Yields the state now and after each change.

        Ends with UNAVAILABLE once no calls are taken, so that watchers do not hold up a drain.

        Cancellation: minimum cleanup; C11.
        """
        told = None
        while True:
            changed = self._changed
            status = self._status(message.service)
            if status != told:
                told = status
                yield HealthCheckResponse(status=status)
            if not self._serving:
                raise RpcError(StatusCode.UNAVAILABLE, "the server takes no calls now")
            await changed.wait()

    @property
    def service(self) -> purerpc.Service:
        """The service for a Server to register."""
        kinds = purerpc.Cardinality
        service = purerpc.Service(SERVICE)
        for name, function, kind in (
            ("Check", self.check, kinds.UNARY_UNARY),
            ("Watch", self.watch, kinds.UNARY_STREAM),
        ):
            signature = purerpc.RPCSignature(kind, HealthCheckRequest, HealthCheckResponse)
            service.add_method(name, function, signature)
        return service
