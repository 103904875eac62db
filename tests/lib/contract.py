"""A proto file as lines that can be kept and compared: one for each thing that clients rely on."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)


def described(root: Path, target: Path) -> FileDescriptorProto:
    """A proto as protoc understands it."""
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{root}"),
            *(f"--descriptor_set_out={target}", "teleport/command.proto"),
        ],
        check=True,
    )
    (file,) = FileDescriptorSet.FromString(target.read_bytes()).file
    return file


def contract(file: FileDescriptorProto) -> list[str]:
    """Every message, field, enum value and method of a file, each on a line."""
    lines = [f"package {file.package} {file.syntax}"]
    for message in file.message_type:
        lines += _of_message(message.name, message)
    for enum in file.enum_type:
        lines += _of_enum(enum.name, enum)
    for service in file.service:
        for method in service.method:
            sent = "stream " * method.client_streaming + method.input_type
            answered = "stream " * method.server_streaming + method.output_type
            lines.append(f"rpc {service.name}.{method.name} ({sent}) returns ({answered})")
    return lines


def _of_message(name: str, message: DescriptorProto) -> Iterator[str]:
    yield f"message {name}"
    for field in message.field:
        kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        label = FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower()
        words = [f"{name}.{field.name} = {field.number}", label, field.type_name or kind]
        if field.proto3_optional:
            words.append("presence")
        elif field.HasField("oneof_index"):
            words.append(f"oneof {message.oneof_decl[field.oneof_index].name}")
        yield " ".join(words)
    for inner in message.nested_type:
        yield from _of_message(f"{name}.{inner.name}", inner)
    for enum in message.enum_type:
        yield from _of_enum(f"{name}.{enum.name}", enum)


def _of_enum(name: str, enum: EnumDescriptorProto) -> Iterator[str]:
    yield f"enum {name}"
    for value in enum.value:
        yield f"{name}.{value.name} = {value.number}"
