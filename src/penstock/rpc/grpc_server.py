"""The gRPC server: it owns listeners, handshakes, connections and the drain."""

import ssl
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import purerpc
import trio

from .call_errors import Reason, RpcError
from .endpoint import Ended
from .health import SCHEMA as HEALTH_SCHEMA
from .health import Health
from .http2.protocol_errors import ENHANCE_YOUR_CALM, NO_ERROR
from .internal_errors import OnInternalError, log_internal_error, reported
from .lag import LagMeter
from .limits import SERVER_DEFAULTS, Limits, MessageLimits
from .lingering import Lingering
from .message_stream import HeldData
from .reflection import Reflection
from .rejections import Rejections
from .served_methods import served_methods
from .server_call import Admit, CallContext, Peer, RefusalOf
from .server_connection import ServerConnection
from .server_state import ClientLoad, Shared
from .server_statistics import Statistics
from .tls.acceptor import Acceptor
from .tls.transport_interface import Transport
from .turns import FairTurns

__all__ = ["CallContext", "Peer", "Server"]

_SHUTDOWN_S: Final = 1.0


class Server:
    """Serves purerpc services over TLS to verified clients.

    Every handler gets a CallContext as ``request.context``. ``identify`` is called once for each
    connection; the RpcError it raises becomes the answer to every call there. ``admit`` is called
    for each call of known methods. ``message_limits`` names, by ``Service/Method``, those whose
    request messages have other bounds than ``limits`` says. ``on_internal_error`` gets the id that
    the client sees and the exception that it does not. None of these may block, because the event
    loop calls them. ``on_certificate_refused`` gets the address of a peer whose certificate TLS has
    refused, the reason (tls/certificate_reasons.py) and a text. ``client_of`` maps an identity to
    the key that the limits per client count by; without it, and for a peer without an identity,
    the key is the certificate.

    grpc.health.v1 is always served, NOT_SERVING while no calls are taken;
    grpc.reflection.v1 with ``reflection``. Both behind the same authentication.
    """

    def __init__(
        self,
        services: Iterable[purerpc.Service],
        ssl_context: ssl.SSLContext,
        *,
        limits: Limits = SERVER_DEFAULTS,
        identify: Callable[[Peer], Any] | None = None,
        client_of: Callable[[Any], Hashable] | None = None,
        admit: Admit = lambda identity, service, method: None,
        message_limits: Mapping[str, MessageLimits] | None = None,
        on_internal_error: OnInternalError = log_internal_error,
        on_certificate_refused: Callable[[str, str, str], None] = lambda address, why, text: None,
        reflection: bool = False,
    ) -> None:
        services = list(services)
        names = [service.name for service in services]
        self._health = Health(names)
        services.append(self._health.service)
        if reflection:
            names.append(self._health.service.name)
            services.append(Reflection(names, [HEALTH_SCHEMA.file]).service)
        self._client_of = client_of
        self._loads: dict[Hashable, ClientLoad] = {}
        self._limits = limits
        self._identify = identify
        self._accepts_calls = True
        self._draining = False
        self._refusals = Rejections()
        self._lag = LagMeter(self._tell_slow_turn)
        self._ended: Counter[str] = Counter()
        self._link_ended = trio.lowlevel.ParkingLot()
        self._lingering = Lingering(limits, self._refusals.refused, self._link_ended.unpark_all)
        self._links: dict[ServerConnection, None] = {}  # in order, so that runs are repeatable
        # Scope S1.listening.
        self._listening = trio.CancelScope()
        self._entrance = Acceptor(
            limits,
            ssl_context,
            refused=self._refusals.refused,
            accepting=self._listening,
            links=lambda: len(self._links),
            serve=self.serve_transport,
            linger=self._lingering.wait_read,
            certificate_refused=on_certificate_refused,
        )
        self._serving: trio.CancelScope | None = None
        self._shared = Shared(
            methods=served_methods(services, limits, message_limits or {}),
            limits=limits,
            on_internal_error=on_internal_error,
            accepts_calls=lambda: self._accepts_calls,
            refusals=self._refusals,
            held=HeldData(limits.unfinished_bytes_in_all, "on this server"),
            turns=FairTurns(),
            message_turns=FairTurns(),
            admit=admit,
        )

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serves until ``drain`` has ended. Cancelled: connections break. Closes ``listeners``.

        May be called once.

        Cancellation: minimum cleanup; C12.
        """
        trio.lowlevel.add_instrument(self._lag)
        try:
            # Scope S1.
            async with trio.open_nursery() as connections:
                self._serving = connections.cancel_scope
                # Beside the acceptors, because handshakes may still end after those have ended.
                await connections.start(self._entrance.watch, connections)
                with self._listening:
                    # Scope S1.acceptors.
                    async with trio.open_nursery() as acceptors:
                        for listener in listeners:
                            acceptors.start_soon(self._entrance.accept, listener)
                        task_status.started()
        finally:
            trio.lowlevel.remove_instrument(self._lag)
            for listener in listeners:  # cancelled before they were accepted from
                listener.socket.close()

    async def drain(self, timeout_s: float) -> None:
        """No new connections or calls; running calls get ``timeout_s``, then UNAVAILABLE.

        The server accepts nothing more. A peer that was accepted, and is not done with TLS, has two
        seconds of the time to complete it, so that it receives a GOAWAY without an error, which
        says that no call was begun and lets it reconnect. Returns when everything has ended, at
        most two seconds after ``timeout_s``. Cancelled: calls and connections stay as they are, so
        the caller must call it again or cancel ``serve``.

        Cancellation: minimum cleanup; C11.
        """
        self._draining = True
        # Cancels S1.listening.
        self._listening.cancel()
        self._health.set_serving(False)
        # Scope S1.drain.
        with trio.move_on_after(timeout_s):
            # Scope S1.links.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._entrance.drain)
                for link in self._links:
                    nursery.start_soon(link.drain)
            await self._wait_no_connections()
        self._entrance.end_handshakes()
        for link in list(self._links):
            link.shut_down()
        # Scope S1.last.
        with trio.move_on_after(self._limits.linger_s + _SHUTDOWN_S):
            await self._wait_no_connections()
        if self._serving is not None:
            # Cancels S1.
            self._serving.cancel()

    def accept_calls(self, accept: bool) -> None:
        """False: new calls get UNAVAILABLE; running calls and connections stay. No checkpoint."""
        self._accepts_calls = accept
        self._health.set_serving(accept)

    def use_ssl_context(self, ssl_context: ssl.SSLContext) -> None:
        """For handshakes that begin from now on; connections stay. No checkpoint."""
        self._entrance.ssl_context = ssl_context

    def revoke(self, revoked: Callable[[Peer, Any], bool], reason: Reason = Reason.REVOKED) -> int:
        """Ends the connections of these peers, and their calls with ``reason``; returns how many.
        ``revoked`` gets the peer and its identity, None if it has none.

        No checkpoint.
        """
        links = [link for link in self._links if revoked(link.peer, link.identity)]
        for link in links:
            link.revoke(reason)
        return len(links)

    def withdraw(self, refusal_of: RefusalOf) -> int:
        """Ends each running call for which ``refusal_of`` has an error, with that error; its
        connection stays. Returns how many. Calls that come later are judged by ``admit``.

        No checkpoint.
        """
        return sum(link.withdraw(refusal_of) for link in self._links if link.refusal is None)

    def connected(self) -> list[Peer]:
        """The peers that are connected, once for each connection."""
        return [link.peer for link in self._links if link.refusal is None]

    def statistics(self) -> Statistics:
        """The counts of now: connections, handshakes, calls, what was refused."""
        return Statistics(
            connections=len(self._links),
            handshakes=len(self._entrance),
            lingering=self._lingering.count,
            running_calls=sum(link.running_calls for link in self._links),
            refused=dict(self._refusals.counts),
            ended=dict(self._ended),
            lag=self._lag.statistics(),
        )

    def _tell_slow_turn(self, took_s: float, cpu_s: float) -> None:
        text = f"everybody has waited {took_s:.2f} s for one turn of the event loop"
        self._refusals.say("slow_turn", f"{text}, of which {cpu_s:.2f} s were work of its own")

    async def _wait_no_connections(self) -> None:
        while self._links or self._lingering.count:
            await self._link_ended.park()

    async def serve_transport(self, transport: Transport, address: str) -> None:
        """Serves a connection whose handshake is done to its end, then closes it.

        Cancelled: minimum cleanup, so the peer sees the connection break. Any other exception that
        it raises is a bug.

        No checkpoint if the connection has ended as it is called.

        Cancellation: minimum cleanup; C2.
        """
        try:
            await self._serve(transport, address)
        finally:
            transport.close()

    async def _serve(self, transport: Transport, address: str) -> None:
        if self._draining:
            # None of its calls may begin, not even one that came with TLS's last message, because
            # the server is ending. So the peer is sent away before anything is read.
            text = "the server is shutting down"
            await self._lingering.send_away(transport, address, "draining", NO_ERROR, text)
            return
        peer = Peer(address, transport.peer_certificate(), transport.peer_issuers())
        identity, key, refusal = self._identified(peer)
        load = self._loads.get(key)
        if load is None:
            most = self._limits.unfinished_bytes_per_client
            load = self._loads[key] = ClientLoad(HeldData(most, "of this client"))
        if load.connections >= self._limits.connections_per_client:
            text = "too many connections of this client"
            await self._lingering.send_away(
                transport, address, "connections_per_client", ENHANCE_YOUR_CALM, text
            )
            return
        link = ServerConnection(transport, self._shared, peer, identity, refusal, load)
        self._links[link] = None
        load.connections += 1
        try:
            await link.run()
        except* Exception:
            link.ended = link.ended or Ended("bug", "a bug of ours")
            raise
        finally:
            self._links.pop(link, None)
            load.connections -= 1
            if not load.connections:
                self._loads.pop(key, None)
            ended = link.ended or Ended("cancelled", "the server was ended")
            self._ended[ended.kind] += 1
            self._link_ended.unpark_all()
            text = f"connection from {address} ended ({ended.kind}): {ended.text}"
            self._refusals.say(f"ended: {ended.kind}", text)

    def _identified(self, peer: Peer) -> tuple[object, Hashable, RpcError | None]:
        """The peer's identity, the key of its limits, and what its calls get if it has none."""
        if self._identify is None:
            return None, peer.certificate, None
        try:
            identity = self._identify(peer)
            if identity is None or self._client_of is None:
                return identity, peer.certificate, None
            return identity, self._client_of(identity), None
        except RpcError as error:
            text = f"calls from {peer.address} will be refused: {error}"
            self._refusals.refused("identity", text)
            return None, peer.certificate, error
        except Exception as error:
            refusal = reported(self._shared.on_internal_error, error)
            return None, peer.certificate, refusal
