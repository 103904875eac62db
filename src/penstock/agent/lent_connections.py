"""Connections that outlive the command line which made them: one for each server and identity.

A connection is of an endpoint: a host, a port, what the server's certificate must be, and the files
of CA, certificate and key as they are now. So a renewed certificate is another endpoint, and its
front ends get another connection. The one before it ends with its last call. Which endpoint is
meant each command line finds by itself, from its own arguments and environment. So a connection is
never lent to one that could not make it.
"""

import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, Final

import trio

from ..cli.typed_path import lasting, let_go
from ..client.client import Client
from ..client.first_connection import CONNECT_S, Endpoint, connect
from ..concurrency.interrupts import uninterrupted_context
from ..rpc.call_errors import ConnectionLost

MOST_BORROWERS: Final = 12
"""Of one connection, so that as many as stand still, each with its window of 1 MiB full, leave the
others room in the connection's 16 MiB; and few of the server's 100 calls of one connection."""
_FRESH_S: Final = 5.0
"""A connection on which a call has ended so long ago is asked whether the server is there."""
_ANSWER_S: Final = 2.0
_IDLE_S: Final = 600.0


class LentConnection:
    """One, from its first attempt to its end."""

    def __init__(
        self, where: tuple[object, ...], files: tuple[object, ...], tries_s: float
    ) -> None:
        self.where = where
        self.files = files
        self.tries_s = tries_s
        """How long it is tried."""
        self.client: Client | None = None
        self.error: Exception | None = None
        self.decided = trio.Event()
        """There is a client, or an error."""
        self.borrowers = 0
        self.used_at = trio.current_time()
        self.since = 0.0
        self.retired = False
        """No line borrows it from now on."""
        # Scope K4.lent.
        self._scope = trio.CancelScope()
        self._unused = trio.Event()

    @property
    def certificate(self) -> object:
        """The path of ours."""
        return self.where[-2]

    async def hold(self, endpoint: Endpoint) -> None:
        """Makes it, and keeps it until it is retired and not borrowed any more. Never fails: what
        is wrong is in ``error``. No checkpoint where it is raised at once, as of a file. The
        endpoint's paths are let go of as soon as they are not read any more.

        Cancellation: minimum cleanup; C2.
        """
        try:
            async with connect(endpoint, connect_timeout_s=self.tries_s) as client:
                self.client = client
                self.since = self.used_at = trio.current_time()
                self._decide(endpoint)
                with self._scope:
                    await client.channel.wait_unusable()
                self.retired = True
                if self.borrowers:
                    await self._unused.wait()
        except Exception as error:  # as the one that waits for it may have: it is raised there
            self.error = error
        finally:
            self.retired = True
            self._decide(endpoint)

    def _decide(self, endpoint: Endpoint) -> None:
        # At once, because a descriptor of a directory keeps its file system from being unmounted.
        for path in (endpoint.ca, endpoint.certificate, endpoint.key):
            if path is not None:
                let_go(path)
        self.decided.set()

    def retire(self) -> None:
        """It ends with its last call."""
        self.retired = True
        # Cancels K4.lent.
        self._scope.cancel()

    def give_back(self) -> None:
        """One of the borrowers has left."""
        self.borrowers -= 1
        self.used_at = trio.current_time()
        if self.retired and not self.borrowers:
            self._unused.set()


class LentConnections:
    """All of an agent's. ``connect`` is what a command line connects by."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._all: list[LentConnection] = []
        # Of no command line: a connection would otherwise keep what the first one was handed.
        self._context = copy_context()

    @property
    def open(self) -> list[LentConnection]:
        """Those that stand."""
        return [each for each in self._all if each.client is not None]

    @uninterrupted_context
    @asynccontextmanager
    async def connect(
        self, endpoint: Endpoint, *, connect_timeout_s: float = CONNECT_S
    ) -> AsyncIterator[Client]:
        """A client on a connection that others may use, too. Raises what ``client.connect`` raises.

        Cancellation: minimum cleanup; C2.
        """
        found = _place_of(endpoint)
        if found is None:  # a file is missing, which connecting explains
            async with connect(endpoint, connect_timeout_s=connect_timeout_s) as client:
                yield client
            return
        while True:
            shared = self._one(*found, connect_timeout_s, endpoint)
            shared.borrowers += 1
            try:
                await shared.decided.wait()
                if shared.error is not None:
                    raise _again(shared.error)
                client_ = shared.client
                assert client_ is not None
                if not await _is_there(shared, client_):
                    continue
                yield client_
                return
            finally:
                shared.give_back()

    def _one(
        self,
        where: tuple[object, ...],
        files: tuple[object, ...],
        tries_s: float,
        endpoint: Endpoint,
    ) -> LentConnection:
        """One that has room, or that begins now."""
        now = trio.current_time()
        for each in self._all:
            unused = not each.borrowers and now - each.used_at > _IDLE_S
            if unused or (each.where == where and each.files != files):
                each.retire()
        for each in self._all:
            if each.retired or (each.where, each.files) != (where, files):
                continue
            waits_longer = each.client is None and each.tries_s > tries_s
            usable = each.client is None or each.client.channel.usable
            if usable and not waits_longer and each.borrowers < MOST_BORROWERS:
                return each
        # Others may wait for it when the one has left in whose directory its files are.
        of_its_own = dataclasses.replace(
            endpoint,
            ca=None if endpoint.ca is None else lasting(endpoint.ca),
            certificate=lasting(endpoint.certificate),
            key=lasting(endpoint.key),
        )
        made = LentConnection(where, files, tries_s)
        self._all.append(made)
        self._context.run(self._nursery.start_soon, self._keep, made, of_its_own)
        return made

    async def _keep(self, shared: LentConnection, endpoint: Endpoint) -> None:
        try:
            await shared.hold(endpoint)
        finally:
            self._all.remove(shared)


async def _is_there(shared: LentConnection, client: Client) -> bool:
    """Whether the server answers on a connection that no line has used for a while: it may be gone
    without a word, as after a night of the machine's."""
    if not client.channel.usable:
        shared.retire()
        return False
    if trio.current_time() - shared.used_at < _FRESH_S:
        return True
    # Scope K4.there.
    with trio.move_on_after(_ANSWER_S):
        try:
            await client.channel.wait_answer()
        except ConnectionLost:
            return False
        shared.used_at = trio.current_time()
        return True
    shared.retire()
    return False


def _place_of(endpoint: Endpoint) -> tuple[tuple[object, ...], tuple[object, ...]] | None:
    """Which server and files, and what those are now; None if one cannot be found."""
    given = (endpoint.ca, endpoint.certificate, endpoint.key)
    paths = [path for path in given if path is not None]
    try:
        files = tuple(_state(path) for path in paths)
        names = tuple(os.path.realpath(path) for path in paths)
    except OSError:
        return None
    server = (endpoint.host, endpoint.port, endpoint.server_name, endpoint.server_fingerprint)
    # Whether there is a CA is told by how many names there are.
    return (*server, *names), (*files, endpoint.passphrase)


def _state(path: Path) -> tuple[int, ...]:
    found = os.stat(path)
    # With mode and owner, because a key that others can read is refused; with the time of change,
    # because what is written in place of another may have its size and be given its mtime.
    return (
        *(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size),
        *(found.st_mode, found.st_uid),
    )


def _again(error: Exception) -> Exception:
    """The same error for one of several that have waited: each adds notes of its own."""
    made: Any = error.__class__.__new__(error.__class__, *error.args)
    made.__dict__.update(error.__dict__)
    if notes := getattr(error, "__notes__", None):
        made.__notes__ = list(notes)
    made.__cause__ = error.__cause__
    found: Exception = made
    return found
