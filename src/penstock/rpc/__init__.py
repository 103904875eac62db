"""gRPC on Trio over purerpc's stubs and protocol core. It does not depend on jobs (docs/rpc.md).

``http2`` is the protocol without I/O, ``tls`` the bytes; ``endpoint`` joins the two for either
side. Imports ``concurrency``. Begin with ``grpc_server`` and ``server_call``, or with ``channel``.
"""
