"""What is said on standard error while a stream or a wait is cut and goes on."""

from collections.abc import Callable

from ..client.follow import News
from ..rpc.call_errors import RpcError
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


def say_waits_on(reconnect_s: float) -> Callable[[RpcError], None]:
    """Says why a wait was cut, and for how long it will be tried again. The job runs on."""

    def lost(error: RpcError) -> None:
        lost_text = f"Connection lost ({message(error)})"
        complain(f"{lost_text}; the job runs on, trying for {reconnect_s:g} s to wait on")

    return lost
