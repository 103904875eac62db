"""What Trio leaves to its users: where ^C arrives, and a nursery's errors as they were raised.

Imports Trio alone; the job library, the transport, the server and the client import it. Begin with
``plain_errors``.
"""
