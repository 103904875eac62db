"""The server process's own parts, without a supervisor."""

import dataclasses
import socket
from pathlib import Path
from typing import Any

import pytest
import trio

from penstock.audit import AuditLog
from penstock.refusals import Refusals
from penstock.repeats import INTERVAL_S, Repeats
from penstock.server import StartupError, _AuditTrail, _listen
from penstock.supervisor.config import parse_config

CONFIG = parse_config(b'policy = "/p"\n', library=True)


class TwoAddresses(trio.abc.HostnameResolver):
    """Every name has two, as localhost often does."""

    async def getaddrinfo(self, host: bytes | None, port: Any, *_: Any) -> Any:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, int(port)))
            for address in ("127.0.0.2", "127.0.0.1")
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        return int(probe.getsockname()[1])


async def test_a_name_with_two_addresses_listens_on_the_first() -> None:
    """One address is what the configuration promises."""
    config = dataclasses.replace(CONFIG, listen_host="two.example", listen_port=free_port())
    trio.socket.set_custom_hostname_resolver(TwoAddresses())
    (listener,) = await _listen(config)
    async with listener:
        assert listener.socket.getsockname()[0] == "127.0.0.2"


async def test_a_name_that_is_none_is_said() -> None:
    """Instead of an exception of the codec's, at every restart."""
    config = dataclasses.replace(CONFIG, listen_host="a..b", listen_port=1)
    with pytest.raises(StartupError, match=r"cannot listen on a\.\.b port 1"):
        await _listen(config)


@pytest.mark.mock_clock
async def test_counts_are_told_though_nobody_comes_any_more(tmp_path: Path) -> None:
    """Of refusals and of reads, a few seconds after their minute; and once."""
    told: list[tuple[Any, ...]] = []
    refusals = Refusals(trio.current_time, lambda *what: told.append(what), per_minute=1)
    repeats = Repeats(trio.current_time, lambda *what: told.append(what))
    trail = _AuditTrail(AuditLog(str(tmp_path / "audit")), refusals, repeats)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trail.tell_regularly)
        for _ in range(3):
            refusals.take("carol")
            repeats.take("alice", "list", {})
        await trio.sleep(INTERVAL_S - 1)
        assert told == []
        await trio.sleep(7)
        assert told == [("carol", 2), ("alice", "list", {}, 2)]
        await trio.sleep(3 * INTERVAL_S)
        assert len(told) == 2
        nursery.cancel_scope.cancel()
    trail.audit.close()
