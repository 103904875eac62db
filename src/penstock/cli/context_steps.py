"""context test: connects step by step, and says at which one it fails.

The steps are those in which a connection is made, so the first that fails is the one to mend: the
files, the server's name, TCP, TLS (is it the server we trust?), the client (does it know us?).
"""

import json
import ssl
from dataclasses import dataclass, field, replace
from typing import Final

import trio
from cryptography import x509
from cryptography.x509.oid import NameOID

from ..client.first_connection import Endpoint, connect
from ..client.identity import load_identity
from ..rpc.call_errors import ConnectionLost, HandshakeFailed, RpcError, StatusCode
from .apart import apart
from .connection_settings import endpoint_from
from .exits import EXPECTED, exit_code, message
from .failures import fail
from .flags import Settings
from .setting_sources import setting_sources
from .signal_handling import detaches
from .standard import say
from .terminal import harmless

_STEPS: Final = ("file", "name", "tcp", "tls", "client")
# Alerts by which a server refuses us, and not TLS (RFC 8446 6.2), as OpenSSL words them.
_OF_THE_CLIENT: Final = ("certificate", "unknown ca", "access denied", "decrypt error")


@dataclass
class _Report:
    """What has been found so far; printed at once as text, or as one object at the end."""

    settings: Settings
    context: str = ""
    address: str = ""
    steps: list[dict[str, object]] = field(default_factory=list)

    @property
    def next(self) -> str:
        """The step that is under way."""
        return _STEPS[len(self.steps)]

    def took(self, detail: str, *, ok: bool = True) -> None:
        """The step under way is over."""
        step = self.next
        self.steps.append({"step": step, "ok": ok, "detail": detail})
        if not self.settings.json:
            say(harmless(f"{step:<7} {'ok' if ok else 'failed':<7} {detail}"))

    def say_json(self, more: dict[str, object]) -> None:
        """The whole object, where JSON is asked for."""
        if self.settings.json:
            named = {"context": self.context, "address": self.address}
            say(json.dumps({k: v for k, v in named.items() if v} | {"steps": self.steps} | more))


@detaches("nothing was changed; test again with: penstock context test")
async def test(settings: Settings, name: str | None) -> None:
    """Prints each step; fails with the exit status of the first that fails."""
    if name is not None:
        settings = replace(settings, context=name)
    report = _Report(settings)
    more: dict[str, object] = {}
    try:
        endpoint = await apart(_endpoint, report)
        await _reach(endpoint, settings.connect_timeout_s, report)
        more = await _ask(endpoint, settings.connect_timeout_s, report)
    except EXPECTED as error:
        report.took(message(error), ok=False)
        report.say_json(more)
        failed = str(report.steps[-1]["step"])
        of = f"context {report.context}" if report.context else "the connection"
        text = f"Error: {of} fails at its {failed} step: {message(error)}"
        fail(harmless(text), exit_code(error))
    report.say_json(more)


def _endpoint(report: _Report) -> Endpoint:
    """The files: what the settings say, and whether they can be used. Raises EXPECTED."""
    settings = report.settings
    sources = setting_sources(settings)
    report.context = sources.context
    if "address" in sources.values:
        report.address = sources.values["address"].text
    if not settings.json:
        named = f"context {sources.context}" if sources.context else "what is set"
        say(harmless(f"Testing {named}: {report.address}"))
    endpoint = endpoint_from(sources)
    files = endpoint.ca, endpoint.certificate, endpoint.key
    pinned = endpoint.server_fingerprint is not None
    load_identity(*files, endpoint.passphrase, pinned=pinned)
    leaf = x509.load_pem_x509_certificate(endpoint.certificate.read_bytes())
    until = f"{leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    report.took(f"{endpoint.certificate} is {_subject(leaf)}'s, until {until}")
    return endpoint


def _subject(leaf: x509.Certificate) -> str:
    """Whom a certificate names, as servers read it: its URI, or else its common name."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    common = [str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return next(iter([*uris, *common]), "a nameless client")


async def _reach(endpoint: Endpoint, timeout_s: float, report: _Report) -> None:
    """Name and TCP. One attempt, because a user who tests wants to see it fail. Raises
    ConnectionLost."""
    where = f"{endpoint.host} port {endpoint.port}"
    # Scope K0.reach.
    with trio.move_on_after(timeout_s or 10.0):
        try:
            found = await trio.socket.getaddrinfo(
                endpoint.host, endpoint.port, type=trio.socket.SOCK_STREAM
            )
            report.took(", ".join(dict.fromkeys(str(each[4][0]) for each in found)))
            stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
        except OSError as error:
            causes = getattr(error.__cause__, "exceptions", (error.__cause__,))
            text = next((str(each.strerror) for each in causes if isinstance(each, OSError)), "")
            raise ConnectionLost(f"{where}: {text or error.strerror or error}") from error
        peer = stream.socket.getpeername()
        await stream.aclose()
        report.took(f"{peer[0]} port {peer[1]}")
        return
    raise ConnectionLost(f"{where}: no answer within {timeout_s or 10.0:g} s")


async def _ask(endpoint: Endpoint, timeout_s: float, report: _Report) -> dict[str, object]:
    """TLS and the client: whether the server knows us, and as whom. Raises RpcError."""
    by_ca = f"by the CA in {endpoint.ca}" if endpoint.ca else "by no CA"
    trusted = f"the server is {endpoint.server_name or endpoint.host}, {by_ca}"
    if endpoint.server_fingerprint:
        trusted = f"the server has the certificate that is pinned, {by_ca}"
    try:
        async with connect(endpoint, connect_timeout_s=timeout_s) as client:
            report.took(trusted)
            info = await client.server_info()
    except HandshakeFailed as error:
        # In TLS 1.3 the server looks at our certificate after we have accepted its own.
        ours = error.certificates or _is_ours(error)
        if any(word in error.message for word in _OF_THE_CLIENT) and not ours:
            report.took(trusted)
        raise
    except RpcError as error:
        if error.code is not StatusCode.PERMISSION_DENIED:
            raise
        report.took(f"the server knows us, and answers no more: {message(error)}")
        return {}
    report.took(f"we are {info.client_id}; the server is penstock {info.version}")
    return {"client_id": info.client_id, "server_version": info.version}


def _is_ours(error: BaseException | None) -> bool:
    """Whether it was we who did not accept the server."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__
    return error is not None
