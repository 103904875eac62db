"""The contract: generated code is fresh, and the fixed table is part of it for ever."""

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent


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


def test_generated_code_is_fresh() -> None:
    """What is committed is what tools/gen_proto would write."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "gen_proto", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_fixed_table_is_a_part_of_the_contract(tmp_path: Path) -> None:
    """Names, numbers, types and labels of every field, and every RPC with its kind."""
    fixed = described(ROOT / "tests" / "fixed", tmp_path / "fixed")
    today = described(ROOT / "proto", tmp_path / "today")
    assert (fixed.package, fixed.syntax) == (today.package, today.syntax)
    messages = {message.name: message for message in today.message_type}
    for message in fixed.message_type:
        fields = {field.number: field for field in messages[message.name].field}
        for field in message.field:
            assert fields[field.number] == field
        # Additions begin at 3, so that they can be told from the fixed part at a glance.
        assert all(
            number >= 3 for number in fields.keys() - {field.number for field in message.field}
        )
    (fixed_service,), (service,) = fixed.service, today.service
    assert fixed_service.name == service.name
    methods = {method.name: method for method in service.method}
    for method in fixed_service.method:
        assert methods[method.name] == method
