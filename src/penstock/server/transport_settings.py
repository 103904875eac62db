"""The limits of the transport, as ``[transport]`` says them (pure)."""

from ..policy.configuration import Config
from ..rpc.limit_parser import limits_from
from ..rpc.limits import SERVER_DEFAULTS, Limits


class TransportError(Exception):
    """``[transport]`` is refused; the text is for an operator, every mistake a line."""


def transport_limits(config: Config) -> Limits:
    """Raises TransportError."""
    try:
        return limits_from(config.transport, SERVER_DEFAULTS)
    except RecursionError as error:
        raise TransportError(
            "[transport] nested too deeply; write limits as docs/rpc.md"
        ) from error
    except ValueError as error:
        text = str(error).replace("\n", "\n[transport] ")
        raise TransportError(f"[transport] {text}") from error
