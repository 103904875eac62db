"""HTTP/2 without I/O: bytes in, events out; commands in, bytes out (pure, no Trio, no sockets).

Of ``rpc`` it imports ``limits`` and ``token_bucket`` alone. Begin with ``connection``;
``receiver`` holds the rules of RFC 9113 for what a peer sends, ``frames`` their bytes.
"""
