"""certs init, issue, renew: an own CA, and certificates that it signs."""

import json
from functools import partial
from pathlib import Path

from ..pki.issue import Issued, file_stem, make_ca
from ..pki.issue import issue as make
from ..pki.issue import renew as make_again
from .apart import apart
from .flags import Settings, SettingsError
from .passphrases import ca_key_passphrase, new_ca_passphrase, new_passphrase
from .signal_handling import detaches
from .standard import complain, say


@detaches("what is there is whole; see it with: penstock certs show --dir {directory}")
async def init(
    settings: Settings,
    directory: str,
    name: str,
    days: int,
    encrypt: bool,
    ca_passphrase_file: str | None,
) -> None:
    """Makes a CA's certificate and key in ``directory``, and prints their paths."""
    key = Path(directory) / "ca.key"
    passphrase = await apart(partial(new_ca_passphrase, key, ca_passphrase_file, encrypt=encrypt))
    certificate = make_ca(Path(directory), name, days=days, passphrase=passphrase)
    if settings.json:
        about = {"kind": "ca", "certificate": str(certificate), "key": str(key)}
        say(json.dumps(about | {"encrypted": passphrase is not None}))
        return
    encrypted = ", which is encrypted" if passphrase is not None else ""
    say(f"Made {certificate} and {key}{encrypted}")


@detaches("what is there is whole; see it with: penstock certs show --dir {directory}")
async def issue(
    settings: Settings,
    name: str,
    directory: str,
    hosts: tuple[str, ...],
    days: int | None,
    hours: int | None,
    encrypt: bool,
    passphrase_file: str | None,
    ca_passphrase_file: str | None,
) -> None:
    """Makes the certificate of a client, or with ``hosts`` of a server, and its key."""
    _check_lifetime(days, hours)
    place = Path(directory)
    key = place / f"{file_stem(name)}.key"
    passphrase = await apart(partial(new_passphrase, key, passphrase_file, encrypt=encrypt))
    issued = make(
        place,
        name,
        server_names=hosts,
        days=90 if days is None else days,
        hours=hours,
        passphrase=passphrase,
        ca_passphrase=await apart(ca_key_passphrase, place / "ca.key", ca_passphrase_file),
    )
    if not hosts and name.startswith("server"):
        complain(
            "It is a client's certificate. A server's has the names that clients connect to: "
            "penstock certs issue NAME --host HOST"
        )
    _say(settings, name, issued, f"{hours} hours" if hours is not None else f"{days or 90} days")


@detaches("what is there is whole; see it with: penstock certs show --dir {directory}")
async def renew(
    settings: Settings,
    name: str,
    directory: str,
    hosts: tuple[str, ...],
    days: int | None,
    hours: int | None,
    new_key: bool,
    encrypt: bool,
    passphrase_file: str | None,
    ca_passphrase_file: str | None,
) -> None:
    """Makes a certificate again, with the same names, for as long as it was valid before."""
    _check_lifetime(days, hours)
    if (encrypt or passphrase_file is not None) and not new_key:
        raise SettingsError(
            "the key stays as it is, so there is nothing to encrypt: give --new-key as well"
        )
    place = Path(directory)
    key = place / f"{file_stem(name)}.key"
    passphrase = await apart(partial(new_passphrase, key, passphrase_file, encrypt=encrypt))
    issued = make_again(
        place,
        name,
        server_names=hosts,
        days=days,
        hours=hours,
        new_key=new_key,
        passphrase=passphrase,
        ca_passphrase=await apart(ca_key_passphrase, place / "ca.key", ca_passphrase_file),
    )
    wanted = f"{hours} hours" if hours is not None else f"{days} days" if days else "before"
    _say(settings, name, issued, wanted)


def _check_lifetime(days: int | None, hours: int | None) -> None:
    if days is not None and hours is not None:
        raise SettingsError("--days and --hours exclude each other: give one of them")


def _say(settings: Settings, name: str, issued: Issued, wanted: str) -> None:
    if settings.json:
        about = {
            "kind": issued.kind,
            "certificate": str(issued.certificate),
            "key": str(issued.key),
            "name": name,
            "not_after": f"{issued.not_after:%Y-%m-%dT%H:%M:%SZ}",
            "cut_to_ca": issued.cut_to_ca,
            "serial": issued.serial,
            "new_key": issued.new_key,
        }
        say(json.dumps(about))
        return
    # To the minute, because a certificate of some hours is common.
    until = f"until {issued.not_after:%Y-%m-%d %H:%M} UTC"
    if issued.cut_to_ca:
        until += f", when the CA ends: that is less than {wanted}"
    whose = f"for the {issued.kind} {name}, {until}"
    if issued.new_key:
        say(f"Made {issued.certificate} and {issued.key} {whose}")
    else:
        say(f"Renewed {issued.certificate} {whose}; its key stays")
