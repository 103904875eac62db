"""The one place where the command line loads code late.

What a command line looks like (``verbs``) is known at once; what a verb does is imported when it is
called, because Trio, gRPC, protobuf and cryptography take longer than everything else: ``penstock
--help``, a mistake in an argument and ``penstock version`` need none of them. So ``__init__``,
``root``, ``verbs``, ``version`` and what these import import nothing heavy; every other file here
imports what it needs at its top.
"""

from importlib import import_module
from typing import Any


def load(module: str) -> Any:  # noqa: ANN401  as the line below says
    """Imports a module of this package by its name; mypy does not know its attributes."""
    return import_module(f".{module}", __package__)
