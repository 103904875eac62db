"""What Trio leaves to its users: where ^C arrives, and a nursery's errors as they were raised.

Imports Trio alone; the job library, the transport and the client import it.
"""
