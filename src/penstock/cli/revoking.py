"""certs revoke, certs crl: the list of revoked certificates, and how it comes to the server."""

import json
import shlex
from pathlib import Path
from typing import Final

from ..pki.certificate_index import IssuedEntry
from ..pki.revocation import RevocationList, write_list
from ..pki.revocation import revoke as take_back
from .apart import apart
from .flags import Settings
from .passphrases import ca_key_passphrase
from .signal_handling import detaches
from .standard import complain, say
from .terminal import harmless

_THERE: Final = "/etc/penstock/certs/crl.pem"
_CONFIGURATION: Final = "/etc/penstock/penstockd.toml"


@detaches("what is revoked stays so; write the list with: penstock certs crl --dir {directory}")
async def revoke(
    settings: Settings,
    wanted: str,
    directory: str,
    reason: str,
    days: int,
    unlisted: bool,
    ca_passphrase_file: str | None,
) -> None:
    """Revokes certificates, writes the list, and prints the two commands that install it."""
    place = Path(directory)
    passphrase = await apart(ca_key_passphrase, place / "ca.key", ca_passphrase_file)
    written = take_back(
        place, wanted, reason=reason, days=days, unlisted=unlisted, ca_passphrase=passphrase
    )
    if not settings.json:
        for entry in written.revoked:
            until = f", which was valid until {entry.not_after[:10]}" if entry.not_after else ""
            say(harmless(f"Revoked {_named(entry)}{until}"))
        for entry in written.before:
            complain(harmless(f"Revoked before, on {entry.revoked[:10]}: {_named(entry)}"))
        if any(entry.kind == "server" for entry in written.revoked):
            complain(
                "Clients read no list: they trust that server until its certificate ends, unless "
                "they pin another one (--server-fingerprint) or get another CA"
            )
    _say_list(settings, written, directory)


@detaches("the list is the old one or the new one, whole")
async def crl(
    settings: Settings, directory: str, days: int, ca_passphrase_file: str | None
) -> None:
    """Writes the list anew, and prints the two commands that install it."""
    place = Path(directory)
    passphrase = await apart(ca_key_passphrase, place / "ca.key", ca_passphrase_file)
    written = write_list(place, days=days, ca_passphrase=passphrase)
    _say_list(settings, written, directory)


def _named(entry: IssuedEntry) -> str:
    serial = f"serial {entry.serial}"
    return f"the {entry.kind} {entry.name}, {serial}" if entry.name else serial


def installing(path: Path) -> list[str]:
    """The two commands that bring a list to the server, which is another machine than the CA's."""
    copied = f"scp {shlex.quote(str(path))} root@SERVER:{_THERE}"
    return [copied, f"ssh root@SERVER penstockd reload --config {_CONFIGURATION}"]


def _say_list(settings: Settings, written: RevocationList, directory: str) -> None:
    commands = installing(written.path)
    if settings.json:
        about = {
            "kind": "crl",
            "crl": str(written.path),
            "count": written.count,
            "next_update": f"{written.next_update:%Y-%m-%dT%H:%M:%SZ}",
            "revoked": [{"name": each.name, "serial": each.serial} for each in written.revoked],
            "commands": commands,
        }
        say(json.dumps(about))
        return
    of = "1 certificate" if written.count == 1 else f"{written.count} certificates"
    again = f"penstock certs crl --dir {shlex.quote(directory)}"
    say(
        f"Wrote {written.path} with {of}. Servers refuse every client once it is older than "
        f"{written.next_update:%Y-%m-%d %H:%M} UTC; write it again before: {again}"
    )
    say(f'At the server, whose configuration has under [tls] the line crl = "{_THERE}", by:')
    for command in commands:
        say(f"  {command}")
