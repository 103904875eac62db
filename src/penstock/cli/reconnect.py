"""Messages on standard error when a stream or a wait loses its connection and resumes."""

from collections.abc import Callable

from ..client.resumption import News
from ..rpc.call_errors import RpcError
from .exits import message
from .standard import complain


class SaidNews(News):
    """Reports on standard error when the connection is lost, and when the stream resumes."""

    def __init__(self, reconnect_s: float) -> None:
        self._reconnect_s = reconnect_s

    def lost(self, error: RpcError) -> None:
        """Reports the error, and for how many seconds it will try to reconnect."""
        complain(f"Connection lost ({message(error)}); trying for {self._reconnect_s:g} s to go on")

    def resumed(self, offset: int) -> None:
        """Reports the byte offset at which the output resumes."""
        complain(f"Connected again; the output goes on at byte {offset}")


def say_waits_on(reconnect_s: float) -> Callable[[RpcError], None]:
    """A callback that reports why a wait was cut, and for how long it will try to reconnect."""

    def lost(error: RpcError) -> None:
        lost_text = f"Connection lost ({message(error)})"
        complain(f"{lost_text}; the job runs on, trying for {reconnect_s:g} s to wait on")

    return lost
