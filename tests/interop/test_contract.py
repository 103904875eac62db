"""``buf breaking``: another make's judgement of what changed in the contract since the release."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parent.parent.parent
# FILE, the strictest: generated code of every language stays compatible, and the wire with it.
_CONFIG = json.dumps({"version": "v2", "breaking": {"use": ["FILE"]}})


def _breaking(npm: Path, proto: Path) -> subprocess.CompletedProcess[str]:
    released = ROOT / "tests" / "fixed" / "released"
    return subprocess.run(
        [
            *(str(npm / ".bin" / "buf"), "breaking", str(proto), "--config", _CONFIG),
            *("--against", str(released), "--against-config", _CONFIG),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_breaks_the_last_released_contract(npm: Path) -> None:
    """proto/ against the file that was released last."""
    done = _breaking(npm, ROOT / "proto")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_break_is_named(npm: Path, tmp_path: Path) -> None:
    """So that a silent buf is known to have looked."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    changed = tmp_path / "proto" / "teleport" / "command.proto"
    text = changed.read_text()
    assert text.count("double timeout_s = 6;") == 1
    changed.write_text(text.replace("double timeout_s = 6;", "double timeout_s = 16;"))
    done = _breaking(npm, tmp_path / "proto")
    assert done.returncode == 100  # of buf: looked, and found something
    assert '"6" with name "timeout_s" on message "StartRequest"' in done.stdout
