"""What Trio leaves to its users: where ^C arrives, a nursery's errors as they were raised, calls
that may block for good.

Imports Trio alone; the job library, the transport, the server and the client import it. Begin with
``plain_errors``.
"""
