"""Following the pages of a list, which a server that is wrong or hostile could make endless (pure).

Each page must lead somewhere else than the one before, and bring something at least now and then;
and all of them together are bounded, because they are kept in memory.
"""

from typing import Final

from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError, StatusCode

EMPTY_PAGES: Final = 100
"""So many in a row may bring nothing, as where a filter leaves nothing of them."""
MOST_ENTRIES: Final = 1_000_000
"""So many there may be on all pages."""
MOST_BYTES: Final = 1 << 30
"""So large they may be, all together."""


class Pages:
    """The pages of one list, as they come. ``what`` they list is for the error."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._token = ""
        self._empty = 0
        self._entries = 0
        self._bytes = 0

    def next(self, page: pb.ListResponse | pb.WhoAmIResponse, entries: int) -> str:
        """The token of the page behind this one, which has so many entries; "" if it was the last
        one. Raises RpcError (INTERNAL)."""
        token = page.next_page_token
        self._entries += entries
        self._bytes += page.ByteSize()
        self._empty = 0 if entries else self._empty + 1
        wrong = ""
        if self._entries > MOST_ENTRIES or self._bytes > MOST_BYTES:
            wrong = f"goes on beyond {MOST_ENTRIES} entries or {MOST_BYTES >> 20} MiB"
        elif token and token == self._token:
            wrong = "names the same next page again"
        elif token and self._empty >= EMPTY_PAGES:
            wrong = f"goes on after {EMPTY_PAGES} pages without an entry"
        if wrong:
            raise RpcError(StatusCode.INTERNAL, f"the server's list of {self._what} {wrong}")
        self._token = token
        return token
