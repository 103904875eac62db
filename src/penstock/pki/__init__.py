"""Certificates: an own CA for a start, the names it may give, and revocation lists.

``key_mode`` and ``certificate_errors`` need no cryptography, because every client imports them; the
server and the command line import the others. Imports ``policy`` for the form of a client's id.
Begin with ``issue``.
"""
