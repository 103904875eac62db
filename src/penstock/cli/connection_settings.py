"""The server's address and our identity there: from flags, the environment, and contexts."""

from collections.abc import Mapping

from ..client.first_connection import Endpoint
from .flags import Settings, SettingsError
from .passphrases import key_passphrase
from .server_address import host_and_port, read_pin, server_name
from .setting_sources import Sources, missing, setting_sources
from .typed_path import typed_path


def endpoint_of(settings: Settings, environment: Mapping[str, str] | None = None) -> Endpoint:
    """The server and our identity. Raises SettingsError, naming all that is missing."""
    return endpoint_from(setting_sources(settings, environment), environment)


def endpoint_from(sources: Sources, environment: Mapping[str, str] | None = None) -> Endpoint:
    """As ``endpoint_of``, of settings that are found already."""
    found = sources.values
    if wanted := missing(found):
        names = ", ".join(f"{flag} (or {variable})" for flag, variable in wanted)
        text = f"no server to connect to: give {names}"
        if sources.context:
            text += f"; context {sources.context} has no more"
        else:
            text += ", or choose a context: penstock context ls"
        raise SettingsError(text)
    host, port = host_and_port(found["address"].text)
    key = typed_path(found["key"].text)
    name, pin = found.get("server_name"), found.get("server_fingerprint")
    return Endpoint(
        host=host,
        port=port,
        ca=typed_path(found["ca"].text) if "ca" in found else None,
        certificate=typed_path(found["certificate"].text),
        key=key,
        passphrase=key_passphrase(key, sources, environment),
        server_name=server_name(name.text, name.source) if name else None,
        server_fingerprint=read_pin(pin.text, pin.source) if pin else None,
    )
