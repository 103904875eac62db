"""whoami: as which client the server knows us, until when, and how much of what is used."""

import time
from datetime import UTC, datetime
from typing import Final

from ..proto import command_pb2 as pb
from ..text.job_text import duration, si
from ..text.limits_text import limits_text
from .connecting import asked
from .fitting import GAP, Column, one_line, rows_of
from .flags import Settings
from .printing import say_json
from .signal_handling import detaches
from .standard import complain, say

WARNED_BEFORE_S: Final = 14 * 86400.0
_LAST_NS: Final = 2**63 - 1  # what stands for every later time, too
_COLUMNS: Final = (Column("QUOTA"), Column("USED"), Column("LIMIT"), Column("FREE AGAIN"))
_NAMES: Final = {
    "max_running": "jobs that run",
    "max_streams": "streams that are open",
    "starts_per_minute": "starts a minute",
    "signals_per_minute": "signals a minute",
    "start_requests": "requests for a start",
    "output.client": "output that is kept",
}


@detaches("nothing was changed; ask again with: penstock whoami")
async def whoami(settings: Settings) -> None:
    """Prints our id, certificate, verbs and quotas; warns of a certificate that ends soon."""
    who = await asked(settings, lambda client: client.who_am_i(commands=False))
    if settings.json:
        say_json(who)
        return
    left_s = who.certificate.not_after_ns / 1e9 - time.time()
    say(one_line(who.client_id))
    say(one_line(f"certificate: serial {who.certificate.serial}, {_end(who.certificate, left_s)}"))
    say(one_line(f"fingerprint: SHA-256 {who.certificate.fingerprint}"))
    say(one_line(f"verbs: {', '.join(who.verbs) or 'none'}"))
    say(f"commands: {who.command_count} (penstock commands)")
    if who.HasField("client_limits"):
        say(one_line(f"all jobs together: {limits_text(who.client_limits)}"))
    for line in rows_of(_COLUMNS, [_cells(quota) for quota in who.quotas]):
        say(GAP.join(line).rstrip())
    if left_s < WARNED_BEFORE_S:
        complain(
            f"WARNING: our certificate ends in {duration(max(0.0, left_s))}, and with it our "
            "connections, not our jobs. The CA's operator issues a new one: penstock certs issue"
        )


def _end(certificate: pb.Certificate, left_s: float) -> str:
    if certificate.not_after_ns == _LAST_NS:
        return "ends after the year 2261"
    end = datetime.fromtimestamp(certificate.not_after_ns / 1e9, UTC)
    return f"ends {end:%Y-%m-%dT%H:%M:%SZ}, in {duration(max(0.0, left_s))}"


def _cells(quota: pb.Quota) -> list[str]:
    def shown(count: int) -> str:
        return f"{si(count)}B" if quota.name == "output.client" else str(count)

    after = f"within {duration(quota.free_after_s)}" if quota.free_after_s else ""
    name = one_line(_NAMES.get(quota.name, quota.name))
    return [name, shown(quota.used), shown(quota.limit), after]
