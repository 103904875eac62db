"""can start: would this start be granted? Nothing is started."""

import json
from collections.abc import Mapping
from typing import Final

from google.rpc.error_details_pb2 import ErrorInfo

from ..rpc.call_errors import RpcError, StatusCode
from .connecting import asked
from .exits import exit_code, message
from .flags import Settings
from .signal_handling import detaches
from .standard import complain, say
from .terminal import harmless

# What a server answers about the start itself; every other error leaves the question open.
_ANSWERS: Final = frozenset(
    {
        StatusCode.PERMISSION_DENIED,
        StatusCode.UNAUTHENTICATED,
        StatusCode.INVALID_ARGUMENT,
        StatusCode.FAILED_PRECONDITION,
    }
)


@detaches("nothing was changed; ask again with: penstock can start")
async def can_start(
    settings: Settings,
    stdin: bool,
    env: Mapping[str, str],
    quiet: bool,
    command: str,
    arguments: tuple[str, ...],
) -> int:
    """Prints yes, or no and the words of the refusal; returns the exit status of such a start."""
    try:
        await asked(
            settings, lambda client: client.check_start(command, arguments, env=env, stdin=stdin)
        )
    except RpcError as error:
        if error.code not in _ANSWERS:
            raise
        refusal, code = error, int(exit_code(error))
    else:
        if not quiet:
            say(json.dumps({"granted": True}) if settings.json else "yes")
        return 0
    if quiet:
        return code
    about = _about(refusal)
    if settings.json:
        said = {"granted": False, "code": refusal.code.name, "message": refusal.message}
        say(json.dumps(said | about))
        return code
    say("no")
    complain(f"Error: {message(refusal)}")
    if "rule" in about:
        complain(f"The policy's key: {harmless(about['rule'])}")
    return code


def _about(error: RpcError) -> dict[str, str]:
    """The reason, and what else there is for programs: ``rule`` or ``field``."""
    found: dict[str, str] = {}
    for detail in error.details:
        if isinstance(detail, ErrorInfo):
            found |= {"reason": detail.reason, **detail.metadata}
    return found
