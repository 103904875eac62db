"""Trio, for verbs that wait; ``root`` loads it when such a verb is called."""

import gc
from collections.abc import Awaitable

import trio


def finish(verb: Awaitable[object]) -> object:
    """What a verb returns, at its end. Raises what it raises, in groups if nurseries did."""

    async def main() -> object:
        return await verb

    if not gc.isenabled():  # as ``cli.main`` leaves it
        # All that was imported stays until the end, so the collector need never look at it.
        gc.freeze()
        gc.enable()
    return trio.run(main)
