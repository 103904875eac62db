"""What an exception below a TLS connection was, in a line (pure)."""

import errno
import ssl


def is_refusal(error: Exception) -> bool:
    """Whether it is we who refuse the peer's certificate."""
    return isinstance(error, ssl.SSLCertVerificationError)


def is_tls(error: Exception) -> bool:
    """Whether TLS itself failed, and not the connection below it."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)


def text_of(error: Exception) -> str:
    """One line, by OpenSSL's or the system's own word for it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "failed").lower().replace("_", " ")
        return f"TLS: {reason}"
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, "") + ": " + (error.strerror or "")
    return str(error)
