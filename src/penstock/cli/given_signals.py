"""Ending signals that a host gives to one of its command lines, as a process gets its own."""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

import trio


class GivenSignals:
    """What comes is taken by the verb that has caught signals; where none has, it ends the command
    line, as it would end a process. ``ended_by``: the signal that did so; 0: none has."""

    def __init__(self, ignored: Collection[int] = ()) -> None:
        """``ignored``: those that the caller ignores, as under ``nohup``."""
        self.ignored = frozenset(ignored)
        self.ended_by = 0
        self._on_end: Callable[[], None] = lambda: None
        self._catchers: list[trio.MemorySendChannel[int]] = []

    def give(self, number: int) -> None:
        """A signal has come. Never waits."""
        if number in self.ignored:
            return
        if self._catchers:
            self._catchers[-1].send_nowait(number)
        else:
            self._end(number)

    def call_at_end(self, on_end: Callable[[], None]) -> None:
        """Calls ``on_end`` when a signal comes that no verb has caught; at once if one has."""
        self._on_end = on_end
        if self.ended_by:
            on_end()

    def _end(self, number: int) -> None:
        if not self.ended_by:
            self.ended_by = number
            self._on_end()

    @contextmanager
    def caught(self) -> Iterator[trio.MemoryReceiveChannel[int]]:
        """Inside, signals come by the channel and end nothing. One that was not taken from it by
        the end counts as one that comes then, as of ``trio.open_signal_receiver``."""
        send, receive = trio.open_memory_channel[int](math.inf)
        self._catchers.append(send)
        try:
            yield receive
        finally:
            self._catchers.remove(send)
            with suppress(trio.WouldBlock):
                while True:
                    self.give(receive.receive_nowait())
            send.close()
            receive.close()
