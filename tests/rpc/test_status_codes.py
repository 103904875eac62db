"""The codes are gRPC's: the same as purerpc's and grpcio's, though neither is asked for them."""

import subprocess
import sys

import purerpc.grpclib.status
import pytest

from penstock.rpc.status_codes import StatusCode


def test_names_and_numbers_are_purerpcs() -> None:
    """Whose handlers and errors the server takes; each of its codes has its twin, and no other."""
    theirs = {code.name: code.value for code in purerpc.grpclib.status.StatusCode}
    assert {code.name: code.value for code in StatusCode} == theirs


def test_names_and_numbers_are_grpcios() -> None:
    grpc = pytest.importorskip("grpc")
    assert {code.name: code.value for code in StatusCode} == {
        code.name: code.value[0] for code in grpc.StatusCode
    }


def test_a_client_imports_neither_purerpc_nor_what_that_brings_nor_cryptography() -> None:
    """Every name that penstock.client has is loaded."""
    program = (
        "import sys; from penstock.client import *;"
        " print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert {"penstock", "trio", "google", "hpack"} <= loaded
    assert not loaded & {"purerpc", "anyio", "h2", "hyperframe", "asyncio", "cryptography"}
