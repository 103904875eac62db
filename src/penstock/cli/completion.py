"""completion: prints the script that makes a shell complete ``penstock``."""

from pathlib import Path

from .standard import say

_SCRIPTS = Path(__file__).parent / "completing"


def completion(shell: str) -> None:
    """Prints the script for bash, zsh or fish."""
    say((_SCRIPTS / f"penstock.{shell}").read_text().removesuffix("\n"))
