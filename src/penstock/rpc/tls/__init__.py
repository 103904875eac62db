"""TLS on both ends: what they insist on, the way from a listener to a done handshake, the bytes.

Begin with ``acceptor`` (server) and ``transport`` (both).
"""
