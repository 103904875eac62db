"""nghttp and ``buf curl``: tools that speak HTTP/2 and gRPC without a line of ours."""

import json
import shutil
import struct
from pathlib import Path

import pytest
from foreign import run_foreign
from google.protobuf.wrappers_pb2 import BytesValue
from pki import shared_pki
from toy import SERVICE, serving

pytestmark = pytest.mark.interop


async def test_nghttp(tmp_path: Path) -> None:
    """A unary call by hand: the message goes in a file, the status comes as a trailer."""
    nghttp = shutil.which("nghttp")
    if nghttp is None:
        pytest.skip("NOT TESTED: no nghttp here (Debian: nghttp2-client)")
    body = BytesValue(value=b"by hand").SerializeToString()
    request = tmp_path / "request"
    request.write_bytes(b"\0" + struct.pack(">I", len(body)) + body)
    directory = shared_pki().directory
    async with serving(shared_pki()) as running:
        printed = await run_foreign(
            [
                *(nghttp, "--verbose", "--data", str(request)),
                *("--cert", str(directory / "alice.crt"), "--key", str(directory / "alice.key")),
                *("-H", ":method: POST", "-H", "te: trailers"),
                *("-H", "content-type: application/grpc"),
                f"https://localhost:{running.port}/{SERVICE}/Echo",
            ]
        )
        # A head, the message, then trailers: not all in one head.
        assert -1 < printed.find(b":status: 200") < printed.find(b"by hand")
        assert printed.find(b"by hand") < printed.find(b"grpc-status: 0")


async def test_buf_curl(npm: Path) -> None:
    """With the schema from a file, and with the server's reflection."""
    pki = shared_pki()
    schema = Path(__file__).with_name("toy.proto")
    common = [
        *(str(npm / ".bin" / "buf"), "curl", "--protocol", "grpc", "--cacert", str(pki.ca)),
        *("--cert", str(pki.directory / "alice.crt"), "--key", str(pki.directory / "alice.key")),
    ]
    async with serving(pki, reflection=True) as running:
        url = f"https://localhost:{running.port}"
        printed = await run_foreign(
            [*common, "--schema", str(schema), "--data", '"aGVsbG8="', f"{url}/{SERVICE}/Echo"]
        )
        assert json.loads(printed) == "aGVsbG8="
        printed = await run_foreign(
            [*common, "--reflect-protocol", "grpc-v1", f"{url}/grpc.health.v1.Health/Check"]
        )
        assert json.loads(printed) == {"status": "SERVING"}
