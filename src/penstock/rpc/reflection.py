"""grpc.reflection.v1: the schema of the served services, for tools without proto files.

Only files that the served services need are shown, not all that the process has loaded, because
those would disclose other packages.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any, Final

import purerpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from .call_errors import StatusCode
from .schema import Schema

SERVICE: Final = "grpc.reflection.v1.ServerReflection"

SCHEMA: Final = Schema(
    "grpc/reflection/v1/reflection.proto",
    "grpc.reflection.v1",
    {
        "ServerReflectionRequest": [
            ("host", 1, "string"),
            ("file_by_filename", 3, "string"),
            ("file_containing_symbol", 4, "string"),
            ("file_containing_extension", 5, "ExtensionRequest"),
            ("all_extension_numbers_of_type", 6, "string"),
            ("list_services", 7, "string"),
        ],
        "ExtensionRequest": [("containing_type", 1, "string"), ("extension_number", 2, "int32")],
        "ServerReflectionResponse": [
            ("valid_host", 1, "string"),
            ("original_request", 2, "ServerReflectionRequest"),
            ("file_descriptor_response", 4, "FileDescriptorResponse"),
            ("all_extension_numbers_response", 5, "ExtensionNumberResponse"),
            ("list_services_response", 6, "ListServiceResponse"),
            ("error_response", 7, "ErrorResponse"),
        ],
        "FileDescriptorResponse": [("file_descriptor_proto", 1, "repeated bytes")],
        "ExtensionNumberResponse": [
            ("base_type_name", 1, "string"),
            ("extension_number", 2, "repeated int32"),
        ],
        "ListServiceResponse": [("service", 1, "repeated ServiceResponse")],
        "ServiceResponse": [("name", 1, "string")],
        "ErrorResponse": [("error_code", 1, "int32"), ("error_message", 2, "string")],
    },
    (
        "ServerReflection",
        [
            (
                "ServerReflectionInfo",
                "ServerReflectionRequest",
                "ServerReflectionResponse",
                True,
                True,
            )
        ],
    ),
    oneof={
        "ServerReflectionRequest": frozenset(
            (
                "file_by_filename",
                "file_containing_symbol",
                "file_containing_extension",
                "all_extension_numbers_of_type",
                "list_services",
            )
        ),
        "ServerReflectionResponse": frozenset(
            (
                "file_descriptor_response",
                "all_extension_numbers_response",
                "list_services_response",
                "error_response",
            )
        ),
    },
)
Request: Final = SCHEMA.message("ServerReflectionRequest")
Response: Final = SCHEMA.message("ServerReflectionResponse")


class Reflection:
    """Answers from the files of ``services`` (full names) and of what those import.

    A service is looked up in protobuf's default pool and in ``files``; one that is in
    neither is listed by its name alone.
    """

    def __init__(self, services: Iterable[str], files: Iterable[FileDescriptor] = ()) -> None:
        self._services = sorted({*services, SERVICE})
        self._files: dict[str, FileDescriptor] = {}
        for file in (*files, SCHEMA.file):
            self._add(file)
        for name in self._services:
            try:
                self._add(descriptor_pool.Default().FindFileContainingSymbol(name))
            except KeyError:
                continue

    def _add(self, file: FileDescriptor) -> None:
        if file.name not in self._files:
            self._files[file.name] = file
            for needed in file.dependencies:
                self._add(needed)

    def answer(self, message: Any) -> Any:
        """The answer to one question. Synchronous, because all schemas are in memory."""
        response = Response(valid_host=message.host, original_request=message)
        match message.WhichOneof("choice"):
            case "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                self._fill(response, self._files.get(message.file_by_filename))
            case "file_containing_symbol":
                self._fill(response, self._containing(message.file_containing_symbol))
            case "all_extension_numbers_of_type":
                name = message.all_extension_numbers_of_type
                response.all_extension_numbers_response.base_type_name = name
            case _:
                self._fill(response, None)
        return response

    def _containing(self, symbol: str) -> FileDescriptor | None:
        # Both names, because a pool does not find methods, which are in their service's file.
        for name in (symbol, symbol.rpartition(".")[0]):
            for file in self._files.values():
                try:
                    if file.pool.FindFileContainingSymbol(name).name == file.name:
                        return file
                except KeyError:
                    continue
        return None

    def _fill(self, response: Any, file: FileDescriptor | None) -> None:
        if file is None:
            response.error_response.error_code = StatusCode.NOT_FOUND.value
            response.error_response.error_message = "not found"
            return
        found = response.file_descriptor_response.file_descriptor_proto
        waiting, seen = [file], {file.name}
        while waiting:
            each = waiting.pop()
            found.append(each.serialized_pb)
            for needed in each.dependencies:
                if needed.name not in seen:
                    seen.add(needed.name)
                    waiting.append(needed)

    async def info(
        self,
        messages: AsyncIterator[Any],
        request: object,  # noqa: ARG002  every handler gets one
    ) -> AsyncGenerator[Any, None]:
        """Yields an answer to each question, in order.

        Cancellation: minimum cleanup.
        """
        async for message in messages:
            yield self.answer(message)

    @property
    def service(self) -> purerpc.Service:
        """The service for a Server to register."""
        service = purerpc.Service(SERVICE)
        signature = purerpc.RPCSignature(purerpc.Cardinality.STREAM_STREAM, Request, Response)
        service.add_method("ServerReflectionInfo", self.info, signature)
        return service
