"""version: ours, and with a server configured what that is and can enforce."""

import json

from .. import __version__
from .flags import Settings
from .lazy import load
from .signal_handling import detaches
from .standard import say


@detaches("nothing was changed; ask again with: penstock version")
async def version(settings: Settings) -> None:
    """Says which version this is; loads what asks a server only if there is one to ask."""
    if settings.configured():
        await load("server_info").say_server_info(settings)
    elif settings.json:
        say(json.dumps({"client": __version__}))
    else:
        say(f"penstock {__version__}")
