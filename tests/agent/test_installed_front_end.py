"""What the wheel installs as the command is the front end, as it stands in the source."""

import subprocess
import sysconfig
from pathlib import Path

import pytest
from agents import FRONT_END
from patience import patient

from penstock import __version__

COMMAND = Path(sysconfig.get_path("scripts"), "penstock")


@pytest.mark.skipif(not COMMAND.exists(), reason="on the source there is no command")
def test_it_is_the_file_of_the_source_and_finds_its_python() -> None:
    """Unchanged by the installer, executable, and run by the Python of its environment."""
    assert COMMAND.read_bytes() == FRONT_END.read_bytes()
    done = subprocess.run(
        [COMMAND, "--version"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=patient(20),
        check=True,
    )
    assert done.stdout == f"penstock {__version__}\n"
