"""Clients' own users: which client's jobs run as which id, once and for ever.

The supervisor alone allocates them, and reports to the server what a job got, because a server that
could choose would be one bug away from another client's files. A client's id stays its own as long
as the table lasts (user_table.py), even when the client leaves the policy, and no other client ever
gets it. Where ``job_uids`` was changed, a client gets a new id out of the new range, and gets its
old one again if the old range comes back.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from ...policy.uid_range import UidRange
from ..logs.supervisor_log import log
from .id_maps import IdMaps
from .user_names import User
from .user_table import Entries, UserTable

_MOST_SAID: Final = 20


class NoUser(Exception):
    """This client has no user to run jobs as. The text says why, and what the operator can do.

    ``public`` is the text for clients, without paths of this host.
    """

    def __init__(self, text: str, public: str = "") -> None:
        super().__init__(text)
        self.public = public or text


class ClientUsers:
    """The ids of ``uids``, as far as ``maps`` has them, by client."""

    def __init__(
        self, table: UserTable, uids: UidRange, maps: IdMaps, entries: Entries | None = None
    ) -> None:
        """``entries``: what the table has, if it was read already. Otherwise this reads it, and
        raises TableDamaged and OSError."""
        self.uids = uids
        self._table = table
        self._maps = maps
        self._taken: dict[int, str] = dict(table.read() if entries is None else entries)
        self._of: dict[str, int] = {}
        for uid, client in self._taken.items():
            if uid in uids:
                self._of.setdefault(client, uid)
        self._durable = set(self._taken)
        self._free = (uid for part in maps.within(uids.ids()) for uid in part)

    def __len__(self) -> int:
        """How many ids of the range are given."""
        return len(self._of)

    def missing(self, clients: Sequence[str]) -> str:
        """Why one of these clients could not have a user, "" if all could. Allocates nothing."""
        for uid in (self._of[client] for client in clients if client in self._of):
            if not self._maps.has(uid):
                return _not_mapped(uid, self._taken[uid])
        new = [client for client in clients if client not in self._of]
        return self._none_left(new[-1]) if len(new) > self._left() else ""

    def never(self, clients: Iterable[str]) -> dict[str, str]:
        """Those of these clients that have no user as long as this process lives, and why.
        Allocates nothing.

        The others have one, or may get one at their next start.
        """
        found = {}
        none_left = self._left() < 1
        for client in clients:
            uid = self._of.get(client)
            if uid is None and none_left:
                found[client] = self._none_left(client)
            elif uid is not None and not self._maps.has(uid):
                found[client] = _not_mapped(uid, client)
        return found

    def _left(self) -> int:
        """How many ids of the range no client was ever given. Goes through all that were."""
        free = sum(len(part) for part in self._maps.within(self.uids.ids()))
        return free - sum(self._maps.has(uid) for uid in self._taken if uid in self.uids)

    def allocate(self, clients: Iterable[str]) -> None:
        """Allocates one for each client that has none, in this order, and makes all durable
        together.

        Raises NoUser, and the clients that got an id before it keep it: an id that was chosen for
        a client is never given to another, whether or not it could be written.
        """
        missing = None
        for client in clients:
            if client not in self._of:
                try:
                    self._choose(client)
                except NoUser as error:
                    missing = missing or error
        self._save()
        if missing is not None:
            raise missing

    def user_of(self, client: str) -> User:
        """The user of this client, allocated if it has none. Group and user have one number.

        Raises NoUser. Takes at most user_table.WRITE_S, and nothing where the client has one.
        """
        uid = self._of.get(client)
        if uid is None or uid not in self._durable:
            self.allocate([client])
            uid = self._of[client]
        if not self._maps.has(uid):
            raise NoUser(_not_mapped(uid, client))
        return User(uid, uid)

    def _choose(self, client: str) -> None:
        for uid in self._free:
            if uid not in self._taken:
                self._taken[uid] = client
                self._of[client] = uid
                return
        raise NoUser(self._none_left(client))

    def _none_left(self, client: str) -> str:
        why = f"all of {self.uids} are given, and none is ever given to another client"
        if not any(self._maps.within(self.uids.ids())):
            why = (
                f"this user namespace maps none of {self.uids} (/proc/self/uid_map and gid_map), "
                "as in many containers"
            )
        return f"job_uids: none is left for client {client!r}: {why}; name a range that has more"

    def _save(self) -> None:
        if len(self._durable) == len(self._taken):
            return
        wanted = list(self._taken.items())
        try:
            self._table.write(wanted)
        except OSError as error:
            raise NoUser(
                f"supervisor_dir: {self._table.path} cannot be written: {error.strerror}; until "
                "it is, clients that are new have no user",
                f"its user cannot be recorded: {error.strerror}; have the operator look at "
                "supervisor_dir",
            ) from error
        new = [f"{client!r} {uid}" for uid, client in wanted if uid not in self._durable]
        self._durable = {uid for uid, _ in wanted}
        more = ", ..." if len(new) > _MOST_SAID else ""
        log(f"clients have users of their own from now on: {', '.join(new[:_MOST_SAID])}{more}")


def _not_mapped(uid: int, client: str) -> str:
    return (
        f"job_uids: {uid}, which is that of client {client!r}, is not mapped in this user "
        "namespace (/proc/self/uid_map and gid_map); map it, or name a range that is"
    )
