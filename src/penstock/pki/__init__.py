"""Certificates: an own CA for a start, the names it may give, and revocation lists.

The server's and the client's end both import it. Begin with ``issue``.
"""
