"""How making a certificate fails (pure). Apart from ``issue``, because the command line knows these
errors in every verb, and needs cryptography in few."""


class CertificateError(Exception):
    """A certificate could not be made; the text says why."""


class NameRefused(CertificateError):
    """No certificate can be issued for this name; the text says which names are possible."""
