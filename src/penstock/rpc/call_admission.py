"""Whether a call may begin, and what became of those that may not: counted and logged.

One CallAdmission is a connection's. It decides by a call's headers alone, in the reader's task.
"""

from .call_errors import Refused, RpcError, StatusCode
from .internal_errors import reported
from .metadata import RequestHead
from .served_methods import ServedMethod
from .server_call import Peer
from .server_state import Shared


class CallAdmission:
    """Admits the calls of one connection. ``refusal`` is the answer to every call of a peer that
    could not be identified."""

    def __init__(
        self, shared: Shared, peer: Peer, identity: object, refusal: RpcError | None
    ) -> None:
        self._shared = shared
        self._peer = peer
        self._identity = identity
        self._refusal = refusal
        self._refused_kinds: set[str] = set()

    def admitted(self, head: RequestHead) -> ServedMethod:
        """The method that the call asks for, once the caller's right to it is checked.

        It runs before a byte of a message is kept, and without a task, so that a rejected call
        costs little. Raises RpcError, also for a bug in ``admit``.
        """
        if not self._shared.accepts_calls():
            raise Refused("not_accepting", StatusCode.UNAVAILABLE, "the server takes no calls now")
        if (refusal := self._refusal) is not None:
            # A new one each time, because a traceback grows whenever its exception is raised.
            raise RpcError(refusal.code, refusal.message, refusal.details)
        service = self._shared.methods.get(head.service)
        if service is None:
            text = f"no service {head.service[:200]}"
            raise Refused("unknown_service", StatusCode.UNIMPLEMENTED, text)
        method = service.get(head.method)
        if method is None:
            text = f"no method {head.method[:200]}"
            raise Refused("unknown_method", StatusCode.UNIMPLEMENTED, text)
        if head.encoding != "identity":
            text = f"grpc-encoding {head.encoding[:40]} is not supported; use identity"
            raise Refused("encoding", StatusCode.UNIMPLEMENTED, text)
        try:
            self._shared.admit(self._identity, head.service, head.method)
        except RpcError:
            raise
        except Exception as error:
            raise reported(self._shared.on_internal_error, error) from error
        return method

    def refused(self, kind: str, text: str) -> None:
        """Counts and logs a call that was not served to its end for a fault of the client's."""
        refusals = self._shared.refusals
        if kind in self._refused_kinds:
            refusals.counts[kind] += 1  # one line of a kind is enough for a connection
        else:
            self._refused_kinds.add(kind)
            refusals.refused(kind, f"a call from {self._peer.address} refused ({kind}): {text}")
