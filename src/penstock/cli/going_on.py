"""What is said on standard error while a stream is cut and goes on."""

from ..follow import News
from ..rpc.errors import RpcError
from .exits import message
from .standard import complain


class SaidNews(News):
    """A line when the connection is lost, and one when the stream goes on."""

    def __init__(self, reconnect_s: float) -> None:
        self._reconnect_s = reconnect_s

    def lost(self, error: RpcError) -> None:
        """Why, and how long it will be tried."""
        complain(f"Connection lost ({message(error)}); trying for {self._reconnect_s:g} s to go on")

    def resumed(self, offset: int) -> None:
        """Where."""
        complain(f"Connected again; the output goes on at byte {offset}")
