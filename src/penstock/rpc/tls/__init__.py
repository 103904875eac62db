"""TLS on both ends: what they require, the way from accept to a done handshake, the bytes.

Of ``rpc`` it imports ``limits`` and ``token_bucket`` alone. Begin with ``acceptor`` and
``waiting_room`` (server), and with ``transport`` (both).
"""
