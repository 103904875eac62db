"""What WhoAmI must tell a client: itself, all that it may start, and how many of its jobs run."""

from penstock.proto import command_pb2 as pb

from .invariants import Invariants
from .programs import COMMANDS


def check_who(
    check: Invariants,
    owner: str,
    answer: pb.WhoAmIResponse,
    names: list[str],
    known: list[str],
    *,
    idle: bool,
) -> None:
    """``names``: of the commands so far, by name, each once, and with the last page all. At least
    those jobs of ``known``, from before it was asked, run that run still; ``idle``: none does."""
    used = {each.name: each.used for each in answer.quotas}
    run = [each for each in known if check.job_of[each] not in check.world.ends]
    wrong = []
    if answer.client_id != owner:
        wrong.append(f"it is {answer.client_id}")
    if names != sorted(COMMANDS)[: len(names)]:
        wrong.append(f"it may start {names}")
    if not answer.next_page_token and len(names) != len(COMMANDS):
        wrong.append(f"it may start {names} alone")
    if used["max_running"] < len(run) or (idle and used["max_running"]):
        wrong.append(f"it has {used['max_running']} jobs that run, and has {run}")
    if any(each.used > each.limit for each in answer.quotas):
        wrong.append(f"it has used {used}, which is more than it may")
    for what in wrong:
        check.world.fail(f"{owner} was told that {what}")
