"""The listening sockets: bound, taken over from a unit, made to listen again; mistakes."""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.policy.addresses import Address
from penstock.policy.configuration import Config, parse_config
from penstock.supervisor import client_listeners, socket_passing
from penstock.supervisor.client_listeners import Listeners, address_of, bound, open_listeners
from penstock.supervisor.socket_passing import PassingError, received_sockets
from penstock.supervisor.startup import StartupError

ANY = Address("127.0.0.1", 0)
# Descriptors that nothing else in this process has.
PLACE = 300


def config(*listen: str) -> Config:
    text = f'policy = "/p"\nlisten = {list(listen)!r}\n'.replace("'", '"')
    return parse_config(text.encode(), library=True)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """Where somebody else listens; nobody waits for him here."""
    monkeypatch.setattr(client_listeners, "_IN_USE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield address_of(other)


def test_several_addresses_and_the_ports_that_were_found() -> None:
    """IPv4, IPv6 and port 0; each queues connections that nobody has accepted yet."""
    made = open_listeners(config("127.0.0.1:0", "[::1]:0"), {})
    assert [address.host for address in made.addresses] == ["127.0.0.1", "::1"]
    four, six = made.addresses
    assert four.port
    assert six.port
    assert made.text == f"; clients connect to 127.0.0.1:{four.port}, [::1]:{six.port}"
    for address in made.addresses:
        socket.create_connection((address.host, address.port)).close()
    made.close()
    assert made.fds == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((four.host, four.port))


def test_all_addresses_of_ipv6_are_none_of_ipv4() -> None:
    """Both can be named, and neither brings the other with it."""
    with bound(Address("::", 0)) as six:
        port = address_of(six).port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        bound(Address("0.0.0.0", port)).close()


def test_of_a_name_the_first_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address is what the configuration promises."""
    asked = socket.getaddrinfo

    def two(host: str, port: int, **options: Any) -> Any:
        return [asked(each, port, **options)[0] for each in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with bound(Address("two.example", 0)) as made:
        assert address_of(made).host == "127.0.0.2"


def test_what_is_in_use_is_a_mistake_with_a_remedy(taken: Address) -> None:
    """So is an address of another machine, and each is named; nothing stays bound."""
    with bound(ANY) as probe:
        free = address_of(probe)
    with pytest.raises(StartupError) as caught:
        open_listeners(config(str(free), str(taken), "192.0.2.1:1"), {})
    in_use, elsewhere = caught.value.mistakes
    assert in_use.startswith(f"listen: {taken} cannot be listened on: Address already in use; stop")
    assert "192.0.2.1:1 cannot be listened on: Cannot assign requested address; name" in elsewhere
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((free.host, free.port))


def test_an_address_that_is_free_in_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose supervisor was killed has it for as long as it takes to hear of that."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = address_of(other)
        monkeypatch.setattr("time.sleep", lambda seconds: other.close())
        bound(where).close()


def test_a_name_that_does_not_resolve_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the resolver says."""

    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(StartupError, match="cannot be resolved: Name or service not known; name"):
        open_listeners(config("no.example:1"), {})


def test_one_that_a_server_has_shut_down_listens_again(capfd: pytest.CaptureFixture[str]) -> None:
    """It has the same open file as the supervisor, and may have been taken over."""
    with bound(ANY) as probe:
        where = address_of(probe)
    made = open_listeners(config(str(where)), {})
    theirs = socket.socket(fileno=os.dup(made.fds[0]))
    theirs.shutdown(socket.SHUT_RDWR)
    theirs.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((where.host, where.port))
    made.listen_again()
    socket.create_connection((where.host, where.port)).close()
    made.listen_again()
    made.close()
    assert capfd.readouterr().err.count(f"{where}: the server before has shut it down") == 1


def variables(count: object, pid: object = None) -> dict[str, str]:
    pid = os.getpid() if pid is None else pid
    return {"LISTEN_FDS": str(count), "LISTEN_PID": str(pid), "LISTEN_FDNAMES": "a", "PATH": "/"}


def placed(sock: socket.socket, monkeypatch: pytest.MonkeyPatch, place: int = PLACE) -> None:
    """It is where the convention has it, which is moved out of pytest's own way."""
    monkeypatch.setattr(socket_passing, "_FIRST_FD", PLACE)
    os.dup2(sock.fileno(), place)
    sock.close()


def test_sockets_of_a_unit_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of those of the configuration, which is said; no child inherits them."""
    first, second = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    found = [address_of(first), address_of(second)]
    placed(first, monkeypatch)
    placed(second, monkeypatch, PLACE + 1)
    environ = variables(2)
    made = open_listeners(config("127.0.0.1:1"), environ)
    assert environ == {"PATH": "/"}
    assert (made.fds, made.addresses) == ([PLACE, PLACE + 1], found)
    assert not any(os.get_inheritable(fd) or os.get_blocking(fd) for fd in made.fds)
    (warning,) = made.warnings
    assert warning.startswith("listen = 127.0.0.1:1 is not heeded: ")
    assert str(found[1]) in warning
    made.close()


@pytest.mark.parametrize("listen", ["127.0.0.1:8443", None])
def test_no_word_of_the_default_or_of_the_same_address(
    monkeypatch: pytest.MonkeyPatch, listen: str | None
) -> None:
    """Nobody has written what is not heeded."""
    given = socket.create_server(("127.0.0.1", 0))
    where = str(address_of(given))
    placed(given, monkeypatch)
    made = open_listeners(config(listen or where), variables(1))
    assert made.warnings == []
    made.close()


@pytest.mark.parametrize("pid", ["", "1", "x"])
def test_sockets_of_another_process_are_none(pid: str) -> None:
    """The variables were inherited by chance; they are taken away all the same."""
    environ = variables(1, pid)
    assert received_sockets(environ) == []
    assert environ == {"PATH": "/"}


@pytest.mark.parametrize("count", ["", "x", "-1", "65", "\u00b2", "9" * 5000])
def test_a_number_that_is_none_is_said(count: str) -> None:
    """It was meant for us, and is wrong."""
    with pytest.raises(PassingError, match="LISTEN_FDS is "):
        received_sockets(variables(count))


@pytest.mark.parametrize("kind", ["pipe", "udp", "unix", "connected", "closed"])
def test_what_nobody_can_accept_from_is_refused(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """With what a unit must say."""
    monkeypatch.setattr(socket_passing, "_FIRST_FD", PLACE)
    match kind:
        case "pipe":
            pair = os.pipe()
            os.dup2(pair[0], PLACE)
            os.close(pair[0])
            os.close(pair[1])
        case "udp":
            placed(socket.socket(type=socket.SOCK_DGRAM), monkeypatch)
        case "unix":
            placed(socket.socket(socket.AF_UNIX), monkeypatch)
        case "connected":  # as with Accept=yes
            placed(socket.socket(), monkeypatch)
    with pytest.raises(StartupError, match=r"descriptor 300 .*ListenStream=ADDRESS:PORT"):
        open_listeners(config("127.0.0.1:1"), variables(1))
    if kind != "closed":
        os.close(PLACE)


def test_without_sockets_there_is_nothing_to_say() -> None:
    """As with --no-server."""
    none = Listeners(())
    none.listen_again()
    assert (none.text, none.fds, none.addresses) == ("", [], [])
    none.close()


def test_what_was_taken_up_counts_from_the_next_server_on() -> None:
    """What is named again stays the same socket; what the next reload does not name is closed."""
    made = open_listeners(config("127.0.0.1:0", "[::1]:0"), {})
    (four, six), fds = made.addresses, made.fds
    named = config("127.0.0.1:0", "[::1]:0").listen
    first, second, third = (bound(ANY, later=True) for _ in range(3))
    places = [address_of(each) for each in (first, second, third)]
    assert made.missing([*named, places[0]]) == [places[0]]
    made.take_up([named[0], places[0]], {places[0]: first})
    made.take_up([named[0], places[1]], {places[1]: second})
    assert first.fileno() == -1
    assert made.fds == fds
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", places[1].port))
    made.listen_again()
    assert made.addresses == [four, places[1]]
    assert made.fds[0] == fds[0]
    socket.create_connection(("127.0.0.1", places[1].port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", six.port))
    made.take_up([places[2]], {places[2]: third})
    made.close()
    assert third.fileno() == second.fileno() == -1


@contextlib.contextmanager
def listening_too(place: Address) -> Iterator[None]:
    """As another program that has begun to listen there after it was bound."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((place.host, place.port))
        other.listen()
        yield


def test_an_address_that_was_taken_meanwhile_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was free when the files were read; the other addresses listen all the same, and no server
    gets a socket that it could not begin with. The next one gets it, once it is free."""
    said: list[str] = []
    monkeypatch.setattr(client_listeners, "log", said.append)
    made = open_listeners(config("127.0.0.1:0"), {})
    (first,) = made.fds
    later = bound(ANY, later=True)
    place = address_of(later)
    with listening_too(place):
        made.take_up([*config("127.0.0.1:0").listen, place], {place: later})
        made.listen_again()
        assert made.fds == [first]
        made.listen_again()
        assert made.fds == [first]
    assert f"{place} cannot be listened on: Address already in use" in said[0]
    made.listen_again()
    assert made.fds == [first, later.fileno()]
    socket.create_connection((place.host, place.port)).close()
    made.close()


def test_where_none_can_be_listened_on_the_addresses_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise no server could begin, and the jobs would end for want of one."""
    said: list[str] = []
    monkeypatch.setattr(client_listeners, "log", said.append)
    made = open_listeners(config("127.0.0.1:0"), {})
    before, fds = list(made.addresses), made.fds
    later = bound(ANY, later=True)
    place = address_of(later)
    with listening_too(place):
        made.take_up([place], {place: later})
        made.listen_again()
    assert (made.addresses, made.fds) == (before, fds)
    assert later.fileno() == -1
    assert f"{before[0]} as before" in said[-1]
    assert made.missing([place]) == [place]
    socket.create_connection((before[0].host, before[0].port)).close()
    made.close()
