"""completion: prints the script that makes a shell complete ``penstock``."""

from pathlib import Path

from .standard import say

_SCRIPTS = Path(__file__).parent / "completing"


async def completion(shell: str) -> None:
    """Prints the script for bash, zsh or fish.

    Cancellation: no checkpoint.
    """
    say((_SCRIPTS / f"penstock.{shell}").read_text().removesuffix("\n"))
