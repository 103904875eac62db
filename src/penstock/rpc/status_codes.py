"""The status codes of gRPC (pure).

They are ours, not purerpc's, because clients need them, and purerpc is for servers: its import
brings h2 and anyio and takes as long as a quarter of a short verb of the command line.
``server_call`` converts what purerpc's own errors carry.
"""

import enum


class StatusCode(enum.Enum):
    """How a call ended; names and numbers as gRPC has them (statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16
