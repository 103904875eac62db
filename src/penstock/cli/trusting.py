"""certs trust: which certificate a server shows, and pinning it for a context.

What ssh does at a first connection, but only when it is asked to: nothing is trusted for having
been seen. A terminal's user confirms the fingerprint, a script gives it. The server is sent nothing
of ours, because this is done before we know who it is.
"""

import json
import tomllib
from dataclasses import dataclass

import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ..pki.certificate_findings import about_certificate, mistakes_of_certificate
from ..pki.fingerprints import fingerprint_of
from ..pki.signing import UNREADABLE
from ..rpc.call_errors import ConnectionLost, HandshakeFailed
from ..rpc.dialing import dial
from ..rpc.limits import CLIENT_DEFAULTS
from ..rpc.tls.contexts import anonymous_ssl_context
from .apart import apart
from .certificate_files import authority_in
from .context_change import change_contexts
from .context_edit import with_context
from .context_file import contexts_path
from .failures import Exit, fail
from .flags import Settings, SettingsError
from .passphrases import confirmed
from .server_address import host_and_port, read_pin
from .setting_sources import Sources, setting_sources
from .signal_handling import detaches
from .standard import say
from .terminal import harmless
from .user_contexts import KEYS, Contexts


@dataclass(frozen=True, slots=True)
class _ServersCertificate:
    """What a server shows: its certificate, where, and the name that it was asked for."""

    where: str
    name: str
    certificate: x509.Certificate

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate."""
        return fingerprint_of(self.certificate.public_bytes(Encoding.DER))


@detaches("what is pinned is shown by: penstock context ls -o json")
async def trust(settings: Settings, fingerprint: str | None) -> None:
    """Prints the server's certificate; pins it if the fingerprint is given, or confirmed."""
    sources = await apart(setting_sources, settings)
    if "address" not in sources.values:
        raise SettingsError("no server to look at: give --addr (or PENSTOCK_ADDR), or --context")
    wanted = read_pin(fingerprint, "--fingerprint") if fingerprint is not None else None
    shown = await _look(sources, settings.connect_timeout_s or 10.0)
    wrong = _mistakes(shown, sources)
    if not settings.json:
        _say(shown, wrong)
    if wanted is not None and wanted != shown.fingerprint:
        fail(
            f"Error: {harmless(shown.where)} shows a certificate with the SHA-256 "
            f"{shown.fingerprint}, and not {wanted}: it was renewed, or this is another server; "
            "nothing was pinned",
            Exit.UNREACHABLE,
        )
    # An address from elsewhere is another server than the context's.
    context = sources.context if "address" in sources.context_keys else ""
    pinned = bool(context) and (wanted is not None or await apart(_confirmed, context))
    if pinned:
        await _pin(context, shown.fingerprint)
    _say_end(settings, shown, wrong, context, pinned=pinned)


async def _look(sources: Sources, timeout_s: float) -> _ServersCertificate:
    """Raises ConnectionLost, HandshakeFailed."""
    host, port = host_and_port(sources.values["address"].text)
    name = sources.values["server_name"].text if "server_name" in sources.values else host
    seen: list[bytes] = []

    def note(certificate: bytes) -> str:
        seen.append(certificate)
        return "it is only looked at"

    # Scope K0.trust.
    with trio.move_on_after(timeout_s):
        try:
            context = anonymous_ssl_context()
            transport = await dial(host, port, context, name, note, CLIENT_DEFAULTS)
            transport.close()
        except HandshakeFailed:
            if not seen:
                raise
    if not seen:
        raise ConnectionLost(f"{host} port {port}: no answer within {timeout_s:g} s")
    try:
        certificate = x509.load_der_x509_certificate(seen[0])
    except UNREADABLE as error:
        raise HandshakeFailed(f"{host} port {port}: its certificate cannot be read") from error
    return _ServersCertificate(f"{host} port {port}", name, certificate)


def _mistakes(shown: _ServersCertificate, sources: Sources) -> list[str]:
    """What would keep us from connecting without a pin."""
    path = sources.values["ca"].text if "ca" in sources.values else ""
    found = mistakes_of_certificate(
        shown.certificate,
        role="server",
        host=shown.name,
        authority=authority_in(path) if path else None,
        authority_path=path,
    )
    return [text if text.startswith(("its ", "TLS ")) else f"it {text}" for text in found]


def _say(shown: _ServersCertificate, wrong: list[str]) -> None:
    say(harmless(f"{shown.where} shows:"))
    about = about_certificate(shown.certificate)
    width = max(map(len, about))
    for key, text in about.items():
        say(harmless(f"  {key:<{width}}  {text}"))
    for text in wrong:
        say(harmless(f"  WRONG: {text}"))


def _confirmed(context: str) -> bool:
    """Whether a user says at the terminal that it is the server's own."""
    return confirmed(
        "Compare the SHA-256 with what this prints at the server: penstock certs show server.crt\n"
        f"Is it the same, and is it to be pinned for context {context}? Type yes: "
    )


async def _pin(name: str, fingerprint: str) -> None:
    """Changes one key of the context."""

    def edit(before: Contexts, text: str) -> str:
        before.one(name, "certs trust")
        # As they are written, because paths may begin at the file's directory.
        written = tomllib.loads(text)["contexts"][name]
        values = {key: value for key, value in written.items() if key in KEYS}
        return with_context(text, name, values | {"server_fingerprint": fingerprint})

    await change_contexts(contexts_path(), edit)


def _say_end(
    settings: Settings, shown: _ServersCertificate, wrong: list[str], context: str, *, pinned: bool
) -> None:
    if settings.json:
        about = about_certificate(shown.certificate)
        named = {"server": shown.where, "fingerprint": shown.fingerprint, "pinned": pinned}
        of = {"context": context} if context else {}
        keys = {"subject": "subject", "names": "names", "issued by": "issuer", "serial": "serial"}
        said = {key: about[word] for word, key in keys.items()}
        say(json.dumps(named | of | said | {"wrong": wrong}))
    elif pinned:
        say(harmless(f"Pinned for context {context}: the server there must show this certificate"))
    elif context:
        again = f"penstock --context {context} certs trust --fingerprint {shown.fingerprint}"
        say(harmless(f"Not pinned. If that is the server's own, pin it with: {again}"))
    else:
        say(
            "If that is the server's own, it can be pinned with --server-fingerprint "
            f"{shown.fingerprint}, or PENSTOCK_SERVER_FINGERPRINT"
        )
