"""version: our version, and that of the configured server, with what it can enforce."""

from collections.abc import Awaitable

from .. import __version__
from .flags import Settings
from .lazy import load
from .setting_sources import setting_sources
from .standard import say


def version(settings: Settings) -> Awaitable[None] | None:
    """Prints our version. If a server is configured, it loads the code that asks it, and returns
    the rest to wait for."""
    if "address" in setting_sources(settings).values:
        asks: Awaitable[None] = load("server_info").say_server_info(settings)
        return asks
    if settings.json:
        say(f'{{"client": "{__version__}"}}')  # a version has nothing to escape
    else:
        say(f"penstock {__version__}")
    return None
