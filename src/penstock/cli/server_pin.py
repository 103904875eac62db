"""A server's fingerprint as a user writes it (pure). Loaded only where there is one."""

from ..pki.fingerprints import read_fingerprint
from .flags import SettingsError


def normal_pin(text: str, source: str) -> str:
    """The fingerprint as penstock writes it. Raises SettingsError, which says where it was."""
    try:
        return read_fingerprint(text)
    except ValueError as error:
        raise SettingsError(f"{source}: {error}") from error
