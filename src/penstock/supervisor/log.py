"""The supervisor's log: lines on standard error, for whoever keeps them."""

import sys


def log(text: str) -> None:
    """One line, whatever is in the text: a peer's words must not look like a line of ours."""
    line = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    sys.stderr.write(f"penstockd: {line}\n")
    sys.stderr.flush()
