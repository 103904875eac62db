"""Certificates: an own CA for a start, the names it may give, and revocation lists.

The server's and the client's end both import it. Imports ``policy`` for the form of a client's id.
Begin with ``issue``.
"""
