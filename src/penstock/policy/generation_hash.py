"""The name of what is in force (pure): one hash of configuration and policy together."""

import hashlib


def generation_hash(configuration: bytes, policy: bytes) -> str:
    """SHA-256 of both files, in lower-case hexadecimal; each with its length before it, so that no
    byte can move from one file to the other without another hash."""
    digest = hashlib.sha256()
    for data in (configuration, policy):
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()
