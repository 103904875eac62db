"""What a client's id looks like (pure)."""

import re
from typing import Final

_CLIENT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
# The SPIFFE ID specification: a trust domain and path segments, no query, no dots alone.
_SPIFFE_ID: Final = re.compile(
    r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*", re.ASCII
)
_SPIFFE_MAX: Final = 2048


def valid_client_id(text: str) -> bool:
    """Is this an id: a name of ``[a-z0-9][a-z0-9._-]{0,62}``, or a ``spiffe://`` URI?"""
    if _CLIENT_NAME.fullmatch(text):
        return True
    return len(text) <= _SPIFFE_MAX and _SPIFFE_ID.fullmatch(text) is not None
