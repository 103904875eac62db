"""sslyze's view of our TLS against Mozilla's modern profile."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from patience import patient
from pki import shared_pki

# In an environment of its own: it wants older versions of what we use.
SSLYZE = "sslyze==6.3.1"
INSTALL_S = 300.0
LIB = Path(__file__).parents[1] / "lib"

pytestmark = pytest.mark.interop


@pytest.fixture
def sslyze(tmp_path: Path) -> Path:
    """An interpreter that has it."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", SSLYZE],
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"NOT TESTED: {SSLYZE} cannot be installed: {done.stderr[-500:]}")
    return python


@pytest.mark.timeout(400)
def test_mozillas_modern_profile(sslyze: Path, tmp_path: Path) -> None:
    """Nothing but what a private CA and Python's ssl leave: its path, and two groups too many."""
    pki = shared_pki()
    server = subprocess.Popen(
        [sys.executable, str(LIB / "toy_server.py"), str(pki.directory), "{}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": str(LIB), "PATH": "/usr/bin:/bin"},
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline())
        alice = pki.clients["alice"]
        found = subprocess.run(
            [
                *(sslyze, "-m", "sslyze", "--mozilla_config=modern"),
                *("--cert", str(alice.certificate), "--key", str(alice.key)),
                *("--json_out", str(tmp_path / "found.json"), f"localhost:{port}"),
            ],
            capture_output=True,
            text=True,
            timeout=patient(100),
            check=False,
        )
    finally:
        server.stdin.close()
        server.wait(10)
        server.stdout.close()
    (scanned,) = json.loads((tmp_path / "found.json").read_text())["server_scan_results"]
    results = scanned["scan_result"]
    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2"):
        assert not results[f"{version}_cipher_suites"]["result"]["accepted_cipher_suites"], version
    accepted = results["tls_1_3_cipher_suites"]["result"]["accepted_cipher_suites"]
    assert len(accepted) == 3
    complaints = [
        line.strip("* ").split(":")
        for line in found.stdout.partition("COMPLIANCE")[2].splitlines()
        if line.strip().startswith("*")
    ]
    assert {name.strip() for name, *_ in complaints} == {
        "certificate_path_validation",
        "tls_curves",
    }, found.stdout
    (groups,) = [rest for name, *rest in complaints if name.strip() == "tls_curves"]
    assert "{'X448', 'secp521r1'}" in "".join(groups) or "{'secp521r1', 'X448'}" in "".join(groups)
