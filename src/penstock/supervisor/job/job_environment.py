"""What a job finds around it: its environment, and the places and users in its view of the host."""

from typing import Final

from ..isolation import Places
from ..users import accounts
from .start_check import CheckedStart

BASE_ENV: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


def environment(grant: CheckedStart, job_id: str, workdir: str) -> dict[str, str]:
    """What every job has, then the policy's, then the request's."""
    name = grant.account.name
    own = {"HOME": workdir, "USER": name, "LOGNAME": name, "PENSTOCK_JOB": job_id}
    return BASE_ENV | own | grant.effective.command.env | dict(grant.env)


def places(grant: CheckedStart, workdir: str, temporary: str, home: str) -> Places:
    """The places of its own view of the host. ``home`` is the one in its environment."""
    user = grant.effective.user
    return Places(
        workdir,
        temporary,
        None if user is None else (user.uid, user.gid),
        accounts.entries(grant.account, user, grant.client.id, home),
    )
