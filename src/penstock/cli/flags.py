"""The values of a command line's global flags."""

from dataclasses import dataclass


class SettingsError(Exception):
    """Something to connect with is missing or wrong; the text says what to set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """None for each flag not given. ``connection_settings.endpoint_of`` makes an endpoint of it."""

    address: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    passphrase_file: str | None = None
    server_name: str | None = None
    server_fingerprint: str | None = None
    context: str | None = None
    output: str = "text"
    connect_timeout_s: float = 10.0
    """As penstock.client.CONNECT_S, which is not imported for --help."""

    @property
    def json(self) -> bool:
        """Whether -o json was given."""
        return self.output == "json"
