"""What the flags of a command line said."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(Exception):
    """Something to connect with is missing or wrong; the text says what to set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """None where the flags said nothing. ``connection_settings.endpoint_of`` is what they mean."""

    address: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    passphrase_file: str | None = None
    output: str = "text"
    connect_timeout_s: float = 10.0
    """As penstock.client.CONNECT_S, which is not imported for --help."""

    @property
    def json(self) -> bool:
        """-o json was given."""
        return self.output == "json"

    def configured(self, environment: Mapping[str, str] = os.environ) -> bool:
        """Is there a server to talk to at all?"""
        return bool(self.address or environment.get("PENSTOCK_ADDR"))
