"""Fifty hostile connections of a kind at once, against a server in a process of its own.

Rows 4 and 8 to 23 of the hazards: another client is served, and everything returns.
"""

from statistics import median
from typing import Any

import pytest
import trio
from attackers import KINDS
from google.protobuf.wrappers_pb2 import BytesValue
from hostile import first_line, helper, served, statistics
from patience import patient, slowness
from pki import shared_pki
from toy import SERVICE

from penstock.rpc.channel import Channel

HOSTILE = 50
CALLS = 40
# Three sorts of hostility: against memory, handshakes and windows.
# All kinds together take over a minute and a half: tools/test --all has them.
ALWAYS = ("floods_never_read",)
# Deadlines short enough to be seen; everything else is as delivered.
LIMITS = {
    "handshake_s": 1.0,
    "preface_s": 1.0,
    "idle_s": patient(5.0),  # the quiet client says nothing while attackers get ready
    "connections_per_client": HOSTILE,
}


async def latencies(*channels: Channel) -> list[list[float]]:
    """Of unary calls, one every 25 ms on each channel, at the same moments."""
    found: list[list[float]] = [[] for _ in channels]

    async def one(channel: Channel, times: list[float]) -> None:
        begin = trio.current_time()
        await channel.unary(
            SERVICE, "Echo", BytesValue(value=b"x"), BytesValue, timeout_s=patient(10)
        )
        times.append(trio.current_time() - begin)

    for _ in range(CALLS):
        async with trio.open_nursery() as nursery:
            for channel, times in zip(channels, found, strict=True):
                nursery.start_soon(one, channel, times)
        await trio.sleep(0.025)
    return [sorted(times) for times in found]


async def returned(channel: Channel, before: dict[str, Any]) -> dict[str, Any]:
    """Statistics once tasks, calls and descriptors are what they were; fails after a while."""
    now: dict[str, Any] = {}
    with trio.move_on_after(patient(15)):
        while True:
            now = await statistics(channel)
            if all(
                now[key] <= before[key]
                for key in ("connections", "running_calls", "handlers", "tasks", "descriptors")
            ):
                return now
            await trio.sleep(0.1)
    raise AssertionError(f"before: {before}\nnow: {now}")


@pytest.mark.alone
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in ALWAYS else (pytest.mark.slow,), id=kind)
        for kind in KINDS
    ],
)
async def test_others_are_served_and_everything_returns(kind: str) -> None:
    """A unary call of another client under 100 ms; memory, descriptors, tasks, handlers return.

    The machine is shared, and the attackers take a part of it too: a server that nobody
    attacks is asked at the same moments, and what it takes longer is not the other's doing.
    """
    pki = shared_pki()
    directory = str(pki.directory)
    async with served(pki, **LIMITS) as (port, channel), served(pki, **LIMITS) as (_, control):
        await latencies(channel, control)  # memory that is taken once is taken
        before = await statistics(channel)
        with helper("attackers.py", directory, str(port), kind, str(HOSTILE)) as attackers:
            assert first_line(attackers) == "ready"
            found, quiet = await latencies(channel, control)
            during = await statistics(channel)
        after = await returned(channel, before)
    print(
        f"{kind}: median {1000 * median(found):.1f} ms, worst {1000 * found[-1]:.1f} ms, "
        f"unattacked {1000 * quiet[-1]:.1f} ms; "
        f"memory {before['resident_kib'] // 1024} to {during['resident_kib'] // 1024} MiB; "
        f"refused {during['refused']}, ended {during['ended']}"
    )
    # One of forty may be late for reasons that the server does not have.
    assert found[-2] < 0.1 * slowness() + quiet[-2], [round(1000 * each) for each in found]
    assert during["most_handlers"] <= 400
    assert during["resident_kib"] - before["resident_kib"] < 300 * 1024
    assert after["resident_kib"] - before["resident_kib"] < 100 * 1024
    assert during["refused"] or during["ended"] or during["connections"] > 1
