"""The limits of the transport, as ``[transport]`` says them (pure)."""

from dataclasses import fields
from typing import Final

from ..policy.configuration import Config
from ..rpc.limit_parser import limits_from
from ..rpc.limits import SERVER_DEFAULTS, Limits

_OF_TLS: Final = frozenset({"legacy_certificates"})
_TOP_LEVEL: Final = {
    each.name for each in fields(Config) if not each.name.startswith("tls_")
} - _OF_TLS


class TransportError(Exception):
    """``[transport]`` is refused; the text is for an operator, every mistake a line."""


def transport_limits(config: Config) -> Limits:
    """Raises TransportError."""
    # A line that is added at the end of a file belongs to the last table.
    astray = [key for key in config.transport if key in _TOP_LEVEL]
    texts = [f"{key}: stands below [transport]; move it above the first table" for key in astray]
    try:
        own = {key: value for key, value in config.transport.items() if key not in astray}
        limits = limits_from(own, SERVER_DEFAULTS)
    except RecursionError as error:
        raise TransportError(
            "[transport] nested too deeply; write limits as docs/rpc.md"
        ) from error
    except ValueError as error:
        texts += str(error).splitlines()
    else:
        if not texts:
            return limits
    raise TransportError("\n".join(f"[transport] {text}" for text in texts))
