"""grpcio's client, the implementation that most others are measured against."""

import sys
from pathlib import Path

import pytest
import trio
from pki import shared_pki
from toy import serving


@pytest.mark.interop
@pytest.mark.timeout(120)
async def test_all_on_one_connection() -> None:
    """Every case of test_cases.py and more, and a client without a certificate."""
    async with serving(shared_pki()) as running:
        script = Path(__file__).with_name("grpcio_client.py")
        done = await trio.run_process(
            [sys.executable, script, str(running.port), shared_pki().directory],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        statistics = running.server.statistics()
        # grpcio tries a certificate-less connection again; each is refused by the handshake.
        asked_for = {
            "unknown_service",
            "unknown_method",
            "encoding",
            "message_bytes",
            "header_bytes",
        }
        assert statistics.refused.keys() == {"handshake", *asked_for}
        assert len(running.errors) == 1
        assert statistics.ended == {"closed": 1}
