"""How bugs are planted."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def instead(owner: Any, name: str, faulty: Any) -> Iterator[None]:
    """``faulty`` in the place of what a class has of that name."""
    before = owner.__dict__[name]
    setattr(owner, name, faulty)
    try:
        yield
    finally:
        setattr(owner, name, before)
