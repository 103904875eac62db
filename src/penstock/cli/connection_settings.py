"""The server's address and our identity there: from flags, the environment, and contexts."""

from collections.abc import Mapping

from ..client.first_connection import Endpoint
from .flags import Settings, SettingsError
from .passphrases import key_passphrase
from .server_address import host_and_port
from .setting_sources import NEEDED, Sources, setting_sources
from .typed_path import typed_path


def endpoint_of(settings: Settings, environment: Mapping[str, str] | None = None) -> Endpoint:
    """The server and our identity. Raises SettingsError, naming all that is missing."""
    return endpoint_from(setting_sources(settings, environment), environment)


def endpoint_from(sources: Sources, environment: Mapping[str, str] | None = None) -> Endpoint:
    """As ``endpoint_of``, of settings that are found already."""
    found = sources.values
    missing = [f"{flag} (or {name})" for key, flag, name in NEEDED if key not in found]
    if missing:
        text = f"no server to connect to: give {', '.join(missing)}"
        if sources.context:
            text += f"; context {sources.context} has no more"
        else:
            text += ", or choose a context: penstock context ls"
        raise SettingsError(text)
    host, port = host_and_port(found["address"].text)
    key = typed_path(found["key"].text)
    return Endpoint(
        host=host,
        port=port,
        ca=typed_path(found["ca"].text),
        certificate=typed_path(found["certificate"].text),
        key=key,
        passphrase=key_passphrase(key, sources, environment),
    )
