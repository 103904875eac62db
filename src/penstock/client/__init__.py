"""The Python client, public: what is named here stays, wherever it is defined.

    from penstock.client import connect

``connect`` gives a ``Client`` on one connection, with one method for each RPC. The others make
connections of their own, as many as it takes: ``start_job``, ``stop_job`` and ``wait_for_job`` are
one call each, ``ask`` is any other; ``Follower`` reads a job's output to its end, ``InputSender``
sends it input, and ``JobWatcher`` hears of every change of one's jobs. What they share is
``retry.Attempts``.

Imports ``rpc``, ``proto``, ``pki`` and ``concurrency``; the command line is its largest user. Begin
with ``client``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..rpc.call_errors import ConnectionLost, HandshakeFailed, RpcError, StatusCode
    from .client import Client
    from .first_connection import Connect, Endpoint, connect
    from .follow import Follower, Part
    from .identity import IdentityError, load_identity
    from .repeated_calls import RepeatedStart, ask, start_job, stop_job, wait_for_job
    from .resumption import News
    from .retry import was_lost
    from .send_input import InputSender
    from .verify import DigestMismatch, EndMissing, OutputBroken
    from .watch import JobWatcher

__all__ = [
    "Client",
    "Connect",
    "ConnectionLost",
    "DigestMismatch",
    "EndMissing",
    "Endpoint",
    "Follower",
    "HandshakeFailed",
    "IdentityError",
    "InputSender",
    "JobWatcher",
    "News",
    "OutputBroken",
    "Part",
    "RepeatedStart",
    "RpcError",
    "StatusCode",
    "ask",
    "connect",
    "load_identity",
    "start_job",
    "stop_job",
    "wait_for_job",
    "was_lost",
]
_DEFINED_IN = {
    "..rpc.call_errors": ("ConnectionLost", "HandshakeFailed", "RpcError", "StatusCode"),
    ".client": ("Client",),
    ".first_connection": ("Connect", "Endpoint", "connect"),
    ".follow": ("Follower", "Part"),
    ".identity": ("IdentityError", "load_identity"),
    ".repeated_calls": ("RepeatedStart", "ask", "start_job", "stop_job", "wait_for_job"),
    ".resumption": ("News",),
    ".retry": ("was_lost",),
    ".send_input": ("InputSender",),
    ".verify": ("DigestMismatch", "EndMissing", "OutputBroken"),
    ".watch": ("JobWatcher",),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  of whatever type that name has
    """Imports a module when one of its names is first used, so that the command line starts
    sooner. Raises AttributeError for a name that is not public."""
    for module, names in _DEFINED_IN.items():
        if name in names:
            return getattr(import_module(module, __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
