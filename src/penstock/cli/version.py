"""version: our version, and that of the configured server, with what it can enforce."""

import json

from .. import __version__
from .flags import Settings
from .lazy import load
from .signal_handling import detaches
from .standard import say


@detaches("nothing was changed; ask again with: penstock version")
async def version(settings: Settings) -> None:
    """Prints our version; loads the code that asks a server only if one is configured."""
    if settings.configured():
        await load("server_info").say_server_info(settings)
    elif settings.json:
        say(json.dumps({"client": __version__}))
    else:
        say(f"penstock {__version__}")
