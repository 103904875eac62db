"""Reloads of a world: the supervisor's side of them, and what both sides must decide alike.

The server's side is the product's: Reloads, Switching, Preparation. What the supervisor does is
done here, in the order in which it hears its server's messages (kernel.py): it offers, switches as
it hears that the server is ready, and its SWITCH is ahead of every answer that it gives later.
"""

import contextlib
import contextvars
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trio
from fake_disk import Killed

from penstock.jobs.backends.base import StartRefused
from penstock.jobs.backends.reloads import Reloads
from penstock.jobs.job_spec import JobSpec
from penstock.pki.crl import Revocations
from penstock.policy.configuration import Config, parse_config
from penstock.policy.decision import Denial, fate_of_jobs, may_call, may_start
from penstock.policy.generation_hash import generation_hash
from penstock.policy.policy_file import VERBS, Policy, parse_policy
from penstock.server.credentials import Credentials
from penstock.server.generation import Generation, InForce
from penstock.server.methods import METHODS
from penstock.server.tls_files import TlsFiles
from penstock.supervisor.ipc.message_base import Message
from penstock.supervisor.ipc.reload_messages import Abandon, Prepare, Prepared, Switch, Switched
from penstock.supervisor.ipc.sealed_files import sealed
from penstock.supervisor.ipc.welcome_message import SweptCounts, Welcome

from .programs import COMMANDS, OWNERS, Fault

if TYPE_CHECKING:
    from .process import Process
    from .world import World

CONFIGURATION: Final = b'policy = "/p"\n[tls]\ncertificate = "/c"\nkey = "/k"\nclient_ca = "/a"\n'
_WHEN_FULL: Final = {"newest": "drop_newest", "waits": "wait", "stops": "stop"}
_VERBS_OF: Final[dict[str, tuple[str | None, ...]]] = {
    "input": ("send",),
    "whoami": (None,),
    "peek": VERBS,  # one of them, in turn
}
# Whose loss ends something that lasts.
_LASTING: Final = ("stream", "watch", "wait", "send")
_OFFER_S: Final = 10.0
_CONFIRM_S: Final = 10.0
# What the product promises of calls whose right is gone.
_ENDED_S: Final = 1.0
_AGAIN_S: Final = 0.5


def policy_text(out: str = "", loses: str = "", *, stops: bool = False) -> str:
    """Everybody may everything; what commands differ in is what becomes of too much output. But
    ``out`` is none of its clients, and ``loses`` has not the verbs of what lasts."""
    text = f'on_revoke = "{"stop" if stops else "keep"}"\n'
    text += '[classes.free]\nneeds = { all = "best_effort" }\n'
    for name in COMMANDS:
        text += (
            f'[commands.{name}]\npath = "/bin/{name}"\nclass = "free"\nstdin = true\n'
            'arguments = [{ pattern = "[0-9]{1,3}" }]\n'
        )
        if name in _WHEN_FULL:
            text += f'when_full = "{_WHEN_FULL[name]}"\n'
    for owner in OWNERS:
        if owner == out:
            continue
        names = ", ".join(f'"{name}"' for name in COMMANDS)
        text += f"[clients.{owner}]\ncommands = [{names}]\nmax_running = 30\n"
        if owner == loses:
            verbs = [each.verb for each in METHODS.values() if each.verb not in (*_LASTING, None)]
            text += f"verbs = {json.dumps(verbs)}\n"
    return text


class NoRevocations(Revocations):
    """No certificate here is one that could be read."""

    def covers(self, certificate_der: bytes) -> bool:
        return False


def no_credentials(config: Config) -> Credentials:
    """In the place of ``load_credentials``: a world has no TLS, so its files never change."""
    none: Any = None
    files = TlsFiles((), (), b"", b"", 0)
    return Credentials(none, NoRevocations(frozenset()), files=files)


@dataclass(frozen=True)
class Files:
    """One state of them; the supervisor's own reading."""

    text: str
    policy: Policy
    hash: str

    @classmethod
    def of(cls, text: str) -> "Files":
        data = text.encode()
        return cls(text, parse_policy(data), generation_hash(CONFIGURATION, data))

    def generation(self) -> Generation:
        config = parse_config(CONFIGURATION)
        return Generation(config, self.policy, no_credentials(config), self.hash)


@dataclass
class Reign:
    """A policy that has a say on either side, until the server goes by the next one."""

    policy: Policy
    until: float = float("inf")


class Line:
    """A server's end of the socket, as far as a reload needs it."""

    def __init__(self, switches: "Switches", process: "Process") -> None:
        self._switches = switches
        self.process = process

    def send(self, message: Message) -> None:
        self.process.effect()
        self._switches.world.kernel.ask(lambda: self._switches.heard(message, self.process))


class Switches:
    """The supervisor's side, and the oracle."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.files = Files.of(policy_text())
        self._known = {self.files.hash: self.files}
        self._asked_by: dict[str, str] = {}
        """Of a reload that no server has confirmed."""
        self._number = 0
        self._line: tuple[Reloads, Process, contextvars.Context] | None = None
        """Of a server that takes calls: whatever it does upon a message is done in its context."""
        self._offered: Files | None = None
        self._offered_to: Process | None = None
        self._undelivered: Switch | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._turn = trio.Lock()
        self._reigns = [Reign(self.files.policy)]
        self._stopped: set[str] = set()
        """Owners whose jobs a policy has had stopped."""
        self.count = 0
        """How many have switched."""

    # For a server that begins.

    def reloads(self, process: "Process") -> Reloads:
        """WELCOME, read."""
        line: Any = Line(self, process)
        found = Reloads(line)
        found.welcome = Welcome(
            version=1,
            mode="user",
            cgroups="tree",
            boot_id="boot",
            policy=self.files.policy.hash,
            limits=(),
            max_jobs=1000,
            swept=SweptCounts(),
            warnings=(),
            fds=("policy", "configuration"),
            generation=self.files.hash,
            reload=dict(self._asked_by),
        )
        process.on_death.append(lambda: self._gone(process))
        return found

    def serving(self, reloads: Reloads, process: "Process") -> None:
        """It takes calls, so it can be asked."""
        self._line = reloads, process, contextvars.copy_context()
        self._changed.unpark_all()

    def _gone(self, process: "Process") -> None:
        if self._line is not None and self._line[1] is process:
            self._line = None
        if self._offered_to is process:
            self._offered = self._offered_to = None
        self._undelivered = None
        self._changed.unpark_all()

    # What the supervisor does.

    async def reload(self, text: str) -> bool:
        """Whether it was taken up. One at a time."""
        world = self.world
        async with self._turn:
            files = Files.of(text)
            self._known[files.hash] = files
            self._number += 1
            number = self._number
            with trio.move_on_after(_OFFER_S):
                while self.files is not files:
                    if self._line is not None and self._offered is None:
                        self._offer(files, number)
                    await self._changed.park()
            if self.files is files:
                await self._wait_confirmed()
                return True
            world.say("supervisor", f"reload {number} is refused")
            self._offered = self._offered_to = None
            if self._line is not None:
                self._deliver(Abandon(number, "a program", ("no answer",)))
            return False

    async def _wait_confirmed(self) -> None:
        """The next one begins once the server has switched, or is gone."""
        with trio.move_on_after(_CONFIRM_S):
            while self._asked_by and self._line is not None:
                await self._changed.park()

    def _offer(self, files: Files, number: int) -> None:
        assert self._line is not None
        self._offered, self._offered_to = files, self._line[1]
        fds = [sealed("policy", files.text.encode()), sealed("configuration", CONFIGURATION)]
        about = Prepare(
            number, files.hash, files.policy.hash, "{}", "a program", ("policy", "configuration")
        )
        self._deliver(about, fds)

    def _deliver(self, message: Prepare | Switch | Abandon, fds: list[int] | None = None) -> None:
        assert self._line is not None
        reloads, _, context = self._line
        with contextlib.suppress(Killed):  # it dies of what it does
            context.run(reloads.deliver, message, fds or [])

    def heard(self, message: Message, process: "Process") -> None:
        """A message of the server's, in its turn among the requests."""
        world = self.world
        if isinstance(message, Prepared) and process is self._offered_to:
            if message.mistakes:
                world.fail(f"good files were refused: {message.mistakes}")
            if message.number == self._number and self._offered is not None and process.alive:
                self._switch(self._offered)
        elif isinstance(message, Switched):
            self._asked_by = {}
            self._changed.unpark_all()

    def _switch(self, files: Files) -> None:
        self._asked_by = {"asked_by": "a program", "before": self.files.hash}
        self.files = files
        self._offered = self._offered_to = None
        self.count += 1
        self._reigns.append(Reign(files.policy))
        self.world.say("supervisor", f"has switched to {files.hash[:8]}")
        self._undelivered = Switch(self._number, 1000)
        self.world.kernel.nursery.start_soon(self._deliver_later)
        self._changed.unpark_all()

    async def _deliver_later(self) -> None:
        await trio.sleep(self.world.kernel.delay_s)
        self.before_answer()

    def before_answer(self) -> None:
        """Messages come in order, so SWITCH is there before any answer of later."""
        message, self._undelivered = self._undelivered, None
        if message is None or self._line is None or not self._line[1].alive:
            return
        process = self._line[1]
        self._deliver(message)
        if process.alive:
            self.switched(process)

    # The oracle.

    def in_force(self) -> InForce:
        """What a server begins with."""
        return InForce(self.files.generation())

    def refusal(self, owner: str, spec: JobSpec, generation: str | None) -> StartRefused | None:
        """The supervisor's answer to a START; and no START may come that its own generation does
        not grant."""
        assert generation is not None
        known = self._known.get(generation)
        if known is None:
            self.world.fail(f"a START by {generation}, which never was")
        elif isinstance(denial := may_start(known.policy, owner, spec), Denial):
            self.world.fail(f"a START of {owner}'s that its own policy denies: {denial.message}")
        if generation != self.files.hash:
            self.world.covered.add("C73")
            return StartRefused("stale_policy", "the policy has just been replaced")
        return None

    def begun(self, process: "Process") -> None:
        """A server has begun, and taken over what runs."""
        self._reigns_alone()
        self._check_stopped()
        self._watch_rights(process)

    def switched(self, process: "Process") -> None:
        """The server has carried SWITCH out, in one step."""
        self.world.covered.add("C74")
        self._reigns_alone()
        self._check_stopped()
        self._watch_rights(process)

    def _reigns_alone(self) -> None:
        """From now on no side decides by an earlier one."""
        for each in self._reigns[:-1]:
            each.until = min(each.until, trio.current_time())

    def _check_stopped(self) -> None:
        """Jobs of owners that are gone are being stopped, or run on, in the same step."""
        manager = self.world.manager
        for job in () if manager is None else manager.list():
            if fate_of_jobs(self.files.policy, job.owner) == "stop":
                self._stopped.add(job.owner)
                if job.stop_asked is None and job.state.value in ("starting", "running"):
                    self.world.fail(f"job {job.handle} of {job.owner}, who is gone, runs on")

    def _watch_rights(self, process: "Process") -> None:
        policy = self.files.policy
        self.world.kernel.nursery.start_soon(self._rights_are_gone, process, policy)

    async def _rights_are_gone(self, process: "Process", policy: Policy) -> None:
        await trio.sleep(_ENDED_S)
        world = self.world
        if not process.alive or world.server is None or process is not world.process:
            return
        if self.files.policy is not policy:
            return
        for link in world.server._links:
            if link.refusal is not None:
                continue
            owner: Any = link.identity
            for call in link._calls.values():
                verb = METHODS[call.asked[1]].verb
                if isinstance(may_call(policy, owner.client_id, verb), Denial):
                    world.fail(f"{call.asked[1]} of {owner.client_id} runs on without the right")

    def excuses(self, owner: str, what: str, began: float) -> bool:
        """Whether a call since then may have been refused, because a policy denied it."""
        verbs = _VERBS_OF.get(what, (what,))
        return any(
            isinstance(may_call(each.policy, owner, verb), Denial)
            for each in self._reigns
            if each.until >= began
            for verb in verbs
        )

    def stops_jobs_of(self, owner: str) -> bool:
        """Whether a policy has had that owner's jobs stopped."""
        return owner in self._stopped

    async def wait_whole(self) -> None:
        """Faults have ended: everybody may everything again, on both sides."""
        whole = policy_text()
        while True:
            if self.files.text.startswith(whole) or await self.reload(whole):
                break
            await trio.sleep(_AGAIN_S)
        await trio.sleep(self.world.kernel.delay_s + _AGAIN_S)  # until SWITCH has come


async def reload_for_a_while(world: "World", fault: Fault) -> None:
    """A client is out, or has lost some verbs; a while later it has all its rights again."""
    owner = OWNERS[fault.number % len(OWNERS)]
    number = f"# {world.switches.count}\n"
    if fault.number >= len(OWNERS):
        text = policy_text(loses=owner)
    else:
        text = policy_text(out=owner, stops=fault.seconds > _ENDED_S)
    await world.switches.reload(text + number)
    await trio.sleep(max(fault.seconds, _ENDED_S + 0.5))
    await world.switches.reload(policy_text() + number)
