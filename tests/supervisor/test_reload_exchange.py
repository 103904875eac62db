"""The two phases of a reload, with a clock, files and a server that are told what to do."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

import penstock.supervisor.reload_exchange as exchanging
from penstock.supervisor.ipc.message_base import Message
from penstock.supervisor.ipc.protocol import ProtocolError
from penstock.supervisor.ipc.reload_messages import (
    RELOAD_FILES,
    Abandon,
    Prepare,
    Prepared,
    Switch,
    Switched,
)
from penstock.supervisor.kernel.loop import Loop, Timer
from penstock.supervisor.reload_exchange import CONFIRM_S, OFFER_S, ReloadExchange
from penstock.supervisor.reload_sides import NewFiles, NotRead, ReloadAnswer, SwitchRefused


@dataclass
class Files:
    """Good files that were read."""

    generation: str
    warnings: list[str] = field(default_factory=list)
    closed: bool = False

    def offer(self, number: int, asked_by: str) -> tuple[Prepare, dict[str, bytes]]:
        message = Prepare(number, self.generation, "p", "{}", asked_by, RELOAD_FILES)
        return message, {"policy": b"p", "configuration": b"c"}

    def close(self) -> None:
        self.closed = True


class World:
    """Clock, own side and server's side; ``sent`` is what the server was told and has not read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Timer]] = []
        self.generation = "g0"
        self.reading: Callable[[NewFiles | Sequence[str] | NotRead], None] | None = None
        self.cancelled = 0
        self.refuses: list[str] = []
        self.takes_calls = True
        self.fails = False
        self.sent: deque[Message] = deque()
        self.kills = 0
        self.answers: list[ReloadAnswer] = []
        self.said: list[str] = []
        monkeypatch.setattr(exchanging, "log", self.said.append)
        self.exchange = ReloadExchange(cast(Loop, self), self, self)

    # The loop's side.
    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback, lambda: None)
        self.timers.append((self.now + seconds, timer))
        return timer

    def passes(self, seconds: float) -> None:
        """Time; timers that are due by then are called, in their order."""
        end = self.now + seconds
        while due := [each for each in self.timers if each[0] <= end and each[1].pending]:
            self.now, timer = min(due, key=lambda each: each[0])
            timer.fire()
        self.now = end

    # The own side.
    def read(self, on_read: Callable[[NewFiles | Sequence[str] | NotRead], None]) -> None:
        assert self.reading is None
        self.reading = on_read

    def cancel(self) -> None:
        self.reading = None
        self.cancelled += 1

    def switch(self, files: NewFiles, number: int, asked_by: str) -> Switch:
        assert asked_by
        if self.refuses:
            raise SwitchRefused(self.refuses)
        self.generation = files.generation
        return Switch(number, 9, changes=("client bob is new",))

    # The server's side.
    def tell(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        assert len(descriptors) == (2 if isinstance(message, Prepare) else 0)
        self.sent.append(message)

    def kill(self) -> None:
        self.kills += 1

    # What tests do.
    def ask(self, who: str = "SIGHUP") -> None:
        self.exchange.ask(who, self.answers.append)

    def have_read(self, found: NewFiles | Sequence[str] | NotRead) -> None:
        assert self.reading is not None
        reading, self.reading = self.reading, None
        reading(found)

    def told(self, kind: type[Message]) -> Any:
        message = self.sent.popleft()
        assert isinstance(message, kind)
        return message

    def ends(self) -> None:
        """The server; what it has not read is lost."""
        self.takes_calls = False
        self.sent.clear()
        self.exchange.gone()

    def serves(self) -> None:
        """Another server takes calls."""
        self.takes_calls = True
        self.exchange.serving()

    def offered(self, generation: str = "g1") -> Files:
        """A reload whose PREPARE the server has read."""
        self.ask()
        files = Files(generation)
        self.have_read(files)
        assert self.told(Prepare).generation == generation
        return files


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_askers_without_end_are_named_in_part_and_refused(world: World) -> None:
    """Each may have hung up long ago; a message must hold their names, and memory their answers."""
    world.ask()
    for number in range(1000):
        world.ask(f"process {number} of user 0 " + "x" * 1000)
    refused = len(world.answers)
    assert refused > 900
    assert all("ask again" in each.mistakes[0] for each in world.answers)
    world.have_read(["no"])
    assert world.told(Abandon).asked_by == "SIGHUP"
    world.have_read(["no"])
    asked_by = world.told(Abandon).asked_by
    assert asked_by.startswith("process 0 of")
    assert asked_by.endswith(f" and {1000 - refused - 8} more")
    assert world.reading is None
    assert len(world.answers) == 1001


def test_both_are_ready_so_both_switch(world: World) -> None:
    """The supervisor first; the answer comes when the server has confirmed, with what it says."""
    files = world.offered()
    files.warnings.append("commands.sh: is a shell")
    assert world.generation == "g0"
    world.exchange.prepared(Prepared(1, (), ("expires soon",)))
    assert world.generation == "g1"
    assert world.told(Switch).number == 1
    assert world.answers == []
    world.exchange.switched(Switched(1, ("one connection has ended",)))
    (answer,) = world.answers
    assert answer == ReloadAnswer(
        (),
        ("client bob is new", "one connection has ended"),
        ("commands.sh: is a shell", "expires soon"),
        "g1",
    )
    assert not files.closed
    assert "reloaded, asked by SIGHUP: g0 to g1" in world.said
    assert not any(timer.pending for _, timer in world.timers)


def test_mistakes_of_the_files_are_for_the_asker_and_the_audit_log(world: World) -> None:
    """The server was not asked, and writes them down all the same."""
    world.ask()
    world.have_read(["/p:3: no", "/p:4: no"])
    assert world.answers == [ReloadAnswer(("/p:3: no", "/p:4: no"), generation="g0")]
    assert world.told(Abandon) == Abandon(1, "SIGHUP", ("/p:3: no", "/p:4: no"))
    assert world.generation == "g0"


def test_files_that_could_not_be_read_now_are_refused(world: World) -> None:
    """As by a child that took too long: it may be done by the next."""
    world.ask()
    world.have_read(NotRead("/p: a disk does not answer"))
    assert world.answers == [
        ReloadAnswer(("/p: a disk does not answer",), generation="g0", passing=True)
    ]
    assert world.told(Abandon).mistakes == ("/p: a disk does not answer",)


def test_a_server_that_says_no_leaves_both_as_they_were(world: World) -> None:
    files = world.offered()
    world.exchange.prepared(Prepared(1, ("[tls] key: /k: No such file",)))
    assert world.answers[0].mistakes == ("[tls] key: /k: No such file",)
    assert world.told(Abandon).mistakes == world.answers[0].mistakes
    assert (world.generation, files.closed) == ("g0", True)


def test_a_server_that_says_nothing_leaves_both_as_they_were(world: World) -> None:
    """Its answer may be under way: it comes too late."""
    files = world.offered()
    world.passes(OFFER_S - 1)
    assert world.answers == []
    world.passes(1)
    assert "did not say within 10 s" in world.answers[0].mistakes[0]
    assert world.answers[0].passing
    world.told(Abandon)
    world.exchange.prepared(Prepared(1))
    assert (world.generation, files.closed) == ("g0", True)
    assert not world.sent
    assert world.kills == 0  # server_watch.py looks for one that stands still


def test_what_may_be_right_in_a_moment_is_not_said_yet(world: World) -> None:
    """Unless somebody else has asked, who is to hear of it; the supervisor's own mistakes are."""
    no = ("the key does not fit",)
    world.exchange.ask("auto", world.answers.append, may_pass=True)
    world.have_read(Files("g1"))
    world.exchange.prepared(Prepared(world.told(Prepare).number, no))
    assert world.told(Abandon).mistakes == ()
    assert (world.answers[0].mistakes, world.answers[0].by_server) == (no, True)
    assert world.said == []
    world.exchange.ask("auto", world.answers.append, may_pass=True)
    world.ask()
    world.exchange.ask("auto", world.answers.append, may_pass=True)
    world.have_read(["/p:1: no"])
    assert world.told(Abandon).mistakes == ("/p:1: no",)
    assert not world.answers[1].by_server
    world.have_read(Files("g1"))
    world.exchange.prepared(Prepared(world.told(Prepare).number, no))
    assert world.told(Abandon).mistakes == no
    assert world.said[-1] == no[0]


def test_what_the_host_does_not_take_refuses_it(world: World) -> None:
    """Such as a client's total below what its jobs use: nothing has changed then."""
    files = world.offered()
    world.refuses = ["clients.alice.limits: cannot be held now"]
    world.exchange.prepared(Prepared(1))
    assert world.answers[0].mistakes == ("clients.alice.limits: cannot be held now",)
    assert world.answers[0].passing
    world.told(Abandon)
    assert (world.generation, files.closed) == ("g0", True)


def test_the_next_server_is_asked_in_the_place_of_one_that_has_ended(world: World) -> None:
    """Within the same bound; an answer that the dead one had sent counts for nothing."""
    world.offered()
    world.passes(4)
    world.ends()
    world.exchange.prepared(Prepared(1))
    assert world.generation == "g0"
    world.passes(4)
    world.serves()
    assert world.told(Prepare).number == 1
    world.exchange.prepared(Prepared(1))
    assert world.generation == "g1"
    world.told(Switch)


def test_without_a_server_nothing_changes(world: World) -> None:
    """It is waited for; whether one comes up and ends again, or none does."""
    world.takes_calls = False
    world.ask()
    files = Files("g1")
    world.have_read(files)
    assert not world.sent
    world.passes(3)
    world.serves()
    world.told(Prepare)
    world.ends()
    world.passes(7)
    assert "no server took calls" in world.answers[0].mistakes[0]
    assert world.answers[0].passing
    assert (world.generation, files.closed, len(world.sent)) == ("g0", True, 0)


def test_files_with_which_no_server_comes_up_can_be_replaced(world: World) -> None:
    """A key that is gone, for example: nobody can be asked, and nobody decides by the old ones. One
    that is coming up is ended, because it has those."""
    world.takes_calls, world.fails = False, True
    world.ask()
    files = Files("g1")
    world.have_read(files)
    world.passes(OFFER_S - 1)
    assert world.generation == "g0"
    world.passes(1)
    (answer,) = world.answers
    assert (answer.mistakes, answer.generation) == ((), "g1")
    assert "no server comes up" in answer.warnings[0]
    assert (world.generation, world.kills, len(world.sent)) == ("g1", 1, 0)
    world.ends()
    world.fails = False
    world.serves()
    assert not world.sent
    world.takes_calls, world.fails, world.refuses = False, True, ["no room"]
    world.ask()
    world.have_read(Files("g2"))
    world.passes(OFFER_S)
    assert world.answers[1].mistakes == ("no room",)
    assert (world.generation, world.kills) == ("g1", 1)


def test_a_server_that_ends_after_the_switch_is_followed_by_one_with_the_new_files(
    world: World,
) -> None:
    """Nothing is undone, because WELCOME brings the new ones."""
    world.offered()
    world.exchange.prepared(Prepared(1))
    world.ends()
    (answer,) = world.answers
    assert (answer.mistakes, answer.generation) == ((), "g1")
    assert "has ended before it confirmed" in answer.changes[-1]
    world.serves()
    assert not world.sent


def test_a_server_that_does_not_confirm_is_killed(world: World) -> None:
    """Once; the reload is done."""
    world.offered()
    world.exchange.prepared(Prepared(1))
    world.passes(CONFIRM_S)
    assert world.kills == 1
    (answer,) = world.answers
    assert answer.mistakes == ()
    assert "it is killed" in answer.changes[-1]
    world.ends()
    world.passes(100)
    assert (world.kills, len(world.answers)) == (1, 1)


def test_who_asks_meanwhile_shares_one_more(world: World) -> None:
    """Which reads the files anew; however many have asked."""
    world.offered()
    for _ in range(3):
        world.ask()
    world.ask("penstockd reload, process 7 of user 0")
    world.exchange.prepared(Prepared(1))
    world.told(Switch)
    assert world.reading is None
    world.exchange.switched(Switched(1))
    assert len(world.answers) == 1
    world.have_read(Files("g2"))
    prepare = world.told(Prepare)
    assert (prepare.number, prepare.generation) == (2, "g2")
    assert prepare.asked_by == "SIGHUP, penstockd reload, process 7 of user 0"
    world.exchange.prepared(Prepared(2))
    world.exchange.switched(Switched(2))
    assert [each.generation for each in world.answers] == ["g1"] + ["g2"] * 4
    assert world.reading is None


def test_whoever_is_answered_may_ask_again(world: World) -> None:
    """Then the others that wait share that one, and no two are under way."""
    answers: list[ReloadAnswer] = []

    def again(answer: ReloadAnswer) -> None:
        answers.append(answer)
        world.ask("again")

    world.exchange.ask("first", again)
    world.ask("second")
    world.have_read(["no"])
    world.have_read(["no"])
    assert len(answers) == 1
    assert len(world.answers) == 2
    assert world.reading is None


@pytest.mark.parametrize("after", ["ask", "read", "offer", "switch"])
def test_penstockd_that_stops_answers_everybody(world: World, after: str) -> None:
    """What has not switched does not any more."""
    files = Files("g1")
    if after == "read":
        world.takes_calls = False
    world.ask()
    world.ask()
    if after != "ask":
        world.have_read(files)
    if after == "switch":
        world.exchange.prepared(Prepared(1))
    world.exchange.stop()
    world.ask()
    assert len(world.answers) == 3
    switched = after == "switch"
    assert world.generation == ("g1" if switched else "g0")
    assert [bool(each.mistakes) for each in world.answers] == [not switched, True, True]
    assert files.closed is (after in ("read", "offer"))
    assert world.cancelled == (0 if switched else 1)
    world.passes(100)
    assert world.reading is None
    assert world.kills == 0


@pytest.mark.parametrize("answer", [Prepared(0), Prepared(2), Switched(1), Switched(2)], ids=str)
def test_an_answer_to_nothing_is_a_breach_of_the_protocol(world: World, answer: Any) -> None:
    """Its sender is broken, or was taken over."""
    world.offered()
    taking = world.exchange.prepared if isinstance(answer, Prepared) else world.exchange.switched
    with pytest.raises(ProtocolError):
        taking(answer)


def test_without_descriptors_nothing_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files could not be handed over."""

    def sealed(name: str, data: bytes) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(exchanging, "sealed", sealed)
    world.ask()
    files = Files("g1")
    world.have_read(files)
    assert "Too many open files" in world.answers[0].mistakes[0]
    assert (world.generation, files.closed) == ("g0", True)


class Server:
    """A server that behaves, as far as it is not killed: it reads one message after another."""

    def __init__(self, generation: str) -> None:
        self.generation = generation
        self.offered: Prepare | None = None
        self.says: deque[Message] = deque()


@pytest.mark.parametrize("seed", range(40))
def test_never_of_two_minds(world: World, seed: int) -> None:
    """Any order of events: whoever has read all that it was told decides as the other does; each
    asker is answered once; and at rest nothing is open."""
    chance = random.Random(seed)
    server: Server | None = Server(world.generation)
    asked = count = 0
    files: list[Files] = []

    def step() -> None:
        nonlocal server, asked, count
        match chance.randrange(9):
            case 0 if asked < 30:
                asked += 1
                world.ask(f"asker {asked}")
            case 1 if world.reading is not None:
                count += 1
                if chance.random() < 0.2:
                    world.have_read(["no"])
                else:
                    files.append(Files(f"g{count}"))
                    world.have_read(files[-1])
            case 2 | 3 | 4 if server is not None and world.sent:
                hear(server, world.sent.popleft())
            case 5 | 6 if server is not None and server.says:
                said = server.says.popleft()
                if isinstance(said, Prepared):
                    world.refuses = ["no room"] if chance.random() < 0.1 else []
                    world.exchange.prepared(said)
                elif world.exchange._state == "confirming":  # otherwise it was killed for it
                    world.exchange.switched(cast(Switched, said))
            case 7 if chance.random() < 0.3:
                if server is not None:
                    server = None
                    world.ends()
                else:
                    server = Server(world.generation)  # as WELCOME has it
                    world.serves()
            case 8 if chance.random() < 0.3:
                world.passes(chance.choice([0.1, 3, OFFER_S]))
                if world.kills:
                    world.kills, server = 0, None
                    world.ends()

    def hear(server: Server, message: Message) -> None:
        match message:
            case Prepare():
                server.offered = message
                no = ("no",) if chance.random() < 0.1 else ()
                server.says.append(Prepared(message.number, no))
            case Switch():
                assert server.offered is not None
                assert server.offered.number == message.number
                server.generation = server.offered.generation
                server.says.append(Switched(message.number))
            case Abandon():
                server.offered = None

    for _ in range(400):
        step()
        if server is not None:
            waiting = any(isinstance(each, Switch) for each in world.sent)
            assert server.generation == world.generation or waiting
    while world.reading is not None or len(world.answers) < asked:
        if world.reading is not None:
            world.have_read(["at last"])
        world.passes(OFFER_S)
    assert len(world.answers) == asked
    in_force = {each.generation for each in world.answers} | {world.generation}
    assert [each for each in files if not each.closed and each.generation not in in_force] == []
