"""SHA-256 fingerprints of certificates, in every form in which people meet them (pure).

penstock writes 64 lower-case hexadecimal digits. openssl writes pairs with colons behind
"sha256 Fingerprint=", browsers write pairs with spaces, so all of these are read.
"""

import hashlib
import re
from typing import Final

_FRONT: Final = re.compile(r"sha-?256([ :]*fingerprint)?[ :=]*", re.IGNORECASE | re.ASCII)
_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def fingerprint_of(certificate_der: bytes) -> str:
    """SHA-256 of the DER form, as penstock writes it."""
    return hashlib.sha256(certificate_der).hexdigest()


def read_fingerprint(text: str) -> str:
    """The same fingerprint as penstock writes it. Raises ValueError, which says what is one."""
    typed = text.strip()
    front = _FRONT.match(typed)
    digits = typed[front.end() if front else 0 :].lower()
    digits = digits.replace(":", "").replace(" ", "")
    if not _HEX.fullmatch(digits):
        raise ValueError(
            f"{text[:100]!r} is no SHA-256 fingerprint of a certificate: write its 64 hexadecimal "
            "digits, with or without colons, as penstock certs show prints them"
        )
    return digits
