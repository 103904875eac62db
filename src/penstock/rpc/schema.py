"""Messages of gRPC's own services, from descriptors in a pool of their own (pure).

They have a pool of their own, because generated modules would register the same names in the
process-wide pool in which other packages (grpcio-health-checking, grpcio-reflection) register them,
so that the second one to be imported would fail.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor

_Type = descriptor_pb2.FieldDescriptorProto.Type
_SCALARS = {
    "string": _Type.TYPE_STRING,
    "bytes": _Type.TYPE_BYTES,
    "int32": _Type.TYPE_INT32,
}


class Schema:
    """One proto file: messages as lists of ``(name, number, type)``.

    A type is a scalar, ``repeated`` and a scalar or message, or a message; ``oneof`` names
    the fields of each message that are alternatives.
    """

    def __init__(
        self,
        path: str,
        package: str,
        messages: Mapping[str, Sequence[tuple[str, int, str]]],
        service: tuple[str, Sequence[tuple[str, str, str, bool, bool]]],
        *,
        enums: Mapping[str, Sequence[str]] | None = None,
        oneof: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        """``service``: name and ``(method, request, response, streams in, streams out)``.

        ``enums``: ``Message.Enum`` to the names of its values from 0 up.
        """
        self._package = package
        file = descriptor_pb2.FileDescriptorProto(name=path, package=package, syntax="proto3")
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            alternatives = (oneof or {}).get(name, frozenset())
            if alternatives:
                message.oneof_decl.add(name="choice")
            for field_name, number, kind in fields:
                field = message.field.add(name=field_name, number=number)
                repeated, _, element = kind.rpartition(" ")
                field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
                if element in _SCALARS:
                    field.type = _SCALARS[element]
                else:
                    field.type_name = f".{package}.{element}"
                if field_name in alternatives:
                    field.oneof_index = 0
        for path_of_enum, values in (enums or {}).items():
            outer, _, inner = path_of_enum.partition(".")
            enum = next(m for m in file.message_type if m.name == outer).enum_type.add(name=inner)
            for number, value in enumerate(values):
                enum.value.add(name=value, number=number)
        described = file.service.add(name=service[0])
        for method, request, response, streams_in, streams_out in service[1]:
            described.method.add(
                name=method,
                input_type=f".{package}.{request}",
                output_type=f".{package}.{response}",
                client_streaming=streams_in,
                server_streaming=streams_out,
            )
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self.file: FileDescriptor = pool.FindFileByName(path)

    def message(self, name: str) -> Any:
        """The class of a message, which protobuf makes at run time."""
        return message_factory.GetMessageClass(self.file.message_types_by_name[name])
