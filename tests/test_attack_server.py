"""What a hostile or unlucky client may try with a server, and what must come of it."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from tests.routing import peer_at
from tests.scripted_client import MODERN, ScriptedClient, serving
from twistvpn.control.session import KeyDerivation
from twistvpn.crypto.wrapping import ControlKey
from twistvpn.deadlines import DeadlineQueue
from twistvpn.interfaces import IAuthenticator, ILinkReceiver
from twistvpn.server.auth import CertificateAuthenticator, CredAuthenticator
from twistvpn.server.factory import ClientProtocol, VpnFactory
from twistvpn.server.status import format_status
from twistvpn.testing import SERVER_ADDRESS, Pair, pair
from twistvpn.verbosity import set_verb
from twistvpn.wire.opcodes import Opcode
from twistvpn.wire.packets import ControlPacket, encode_body, encode_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.failure import Failure

    from twistvpn.interfaces import Address, Credentials, ILink, Run
    from twistvpn.peer import Peer


pytestmark = pytest.mark.usefixtures("faults")


@implementer(IAuthenticator)
class Undecided:
    """Authentication that the test decides on, in its own time."""

    def __init__(self) -> None:
        self.asked: list[Deferred[str]] = []

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        self.asked.append(Deferred())
        return self.asked[-1]


def only_peer(vpn: Pair) -> Peer:
    (peer,) = vpn.server.factory.connections
    return peer


def leave_silently(client: ScriptedClient) -> None:
    """As a process that is killed."""
    client.link.close()
    client.peer.close("killed")


def assert_empty(vpn: Pair) -> None:
    """The server remembers nobody."""
    factory, demux = vpn.server.factory, vpn.server.factory.demux
    assert not factory.connections
    assert not factory.clients
    assert not factory.roster
    for table in (demux._sessions, demux._by_address, demux._by_id, demux._by_stream):
        assert not table
    assert peer_at(factory.routes, vpn.server.address + 1) is None


# Names and words


def test_a_login_that_is_not_utf8_is_refused_like_any_other() -> None:
    authenticator = CredAuthenticator([InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")])
    vpn = serving(authenticator=authenticator)
    client = ScriptedClient(vpn, login=("\udcff\udcfe", "\udc80"))
    assert client.texts == ["AUTH_FAILED,wrong username or password"]


def test_a_name_that_is_not_utf8_is_told_as_well_as_can_be() -> None:
    users = InMemoryUsernamePasswordDatabaseDontUse()
    users.users = {b"\xff": b"one", b"\xfe": b"two"}
    vpn = serving(authenticator=CredAuthenticator([users], "username"))
    client = ScriptedClient(vpn, login=("\udcff", "one"))
    client.login = ("\udcfe", "two")
    client.renegotiate()
    assert client.texts[-1] == "AUTH_FAILED,renegotiated as _"


@pytest.mark.parametrize("name", ["x" * 190, "\udcff" * 600])
def test_a_name_too_long_to_be_pushed_is_not(name: str) -> None:
    vpn = serving(server="auth-gen-token 0\n")
    client = ScriptedClient(vpn, login=(name, "anything"))
    assert client.pushed_value("auth-token") is not None
    assert client.pushed_value("auth-token-user") is None
    client.login = (name, client.pushed_value("auth-token") or "")
    client.renegotiate()
    assert len(client.keys) == 2
    assert client.texts[-1].startswith("PUSH_REPLY,auth-token ")


@pytest.mark.parametrize("login", [("bob", "two"), ("", "")])
def test_who_came_with_a_name_renegotiates_with_no_other(login: tuple[str, str]) -> None:
    users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"one", bob=b"two")
    authenticator = CredAuthenticator([users], without_password=CertificateAuthenticator())
    vpn = serving(authenticator=authenticator, server="auth-gen-token 0\n")
    client = ScriptedClient(vpn, login=("alice", "one"))
    client.login = login
    client.renegotiate()
    assert client.texts[-1] == f"AUTH_FAILED,renegotiated with the name {login[0] or 'of nobody'}"
    assert_empty(vpn)


FORGED = "eve\nOpenVPN CLIENT LIST\nroot,1.2.3.4:5,0,0,now\x1b[2J"


def test_a_name_cannot_forge_lines_of_log_or_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twistvpn.pki.authority.check_name", lambda name: name)
    lines: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_namespace", "").startswith("twistvpn."):
            lines.append(event["log_format"].format(**event))

    vpn = serving()
    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    try:
        client = ScriptedClient(vpn, issued=vpn.authority.issue_client(FORGED, vpn.valid_from))
    finally:
        globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
    assert client.texts
    assert all(line.isprintable() for line in lines), lines
    status = format_status(vpn.server.factory, vpn.clock.seconds())
    assert status.count("\nroot") == 0
    assert status.count("OpenVPN CLIENT LIST\n") == 1
    (line,) = [line for line in status.splitlines() if line.startswith("eve")]
    assert line.split(",")[1] == "203.0.113.1:5000", "a comma would shift the columns"


# Authentication that takes its time


def test_who_dies_while_he_is_looked_at_evicts_nobody() -> None:
    undecided = Undecided()
    vpn = serving(authenticator=undecided)
    first = ScriptedClient(vpn, name="alice", port=5001)
    undecided.asked[0].callback("alice")
    vpn.advance(1)
    assert first.pushed
    second = ScriptedClient(vpn, name="alice", port=5002)
    vpn.network.keep = lambda _data, _source, destination: destination != ("203.0.113.1", 5002)
    tls = next(iter(second.peer.session._keys))._tls
    assert tls is not None
    tls.loseConnection()
    second.peer.pump()
    vpn.advance(0.5)
    undecided.asked[1].callback("alice")
    vpn.network.keep = None
    vpn.advance(1)
    assert [str(one) for one in vpn.server.factory.roster._by_identity.values()] == ["alice/udp:203.0.113.1:5001"]
    assert first.say("PUSH_REQUEST") == []
    assert not first.lost


@pytest.mark.parametrize("answer", ["alice", "bob"])
def test_an_answer_for_who_has_gone_changes_nothing(answer: str) -> None:
    undecided = Undecided()
    vpn = serving(authenticator=undecided)
    client = ScriptedClient(vpn)
    leave_silently(client)
    vpn.advance(120)
    assert_empty(vpn)
    undecided.asked[0].callback(answer)
    vpn.advance(1)
    assert_empty(vpn)


def test_who_renegotiates_before_he_is_let_in_is_not_heard_until_he_is() -> None:
    undecided = Undecided()
    vpn = serving(authenticator=undecided)
    client = ScriptedClient(vpn)
    client.renegotiate()
    assert client.keys == [0]
    assert len(undecided.asked) == 1
    assert client.texts == []
    undecided.asked[0].callback("alice")
    vpn.advance(10)
    assert client.keys == [0, 1]
    assert len(undecided.asked) == 2


def test_a_second_renegotiation_waits_until_the_first_is_decided() -> None:
    undecided = Undecided()
    vpn = serving(authenticator=undecided)
    client = ScriptedClient(vpn)
    undecided.asked[0].callback("alice")
    vpn.advance(1)
    client.renegotiate()
    client.renegotiate()
    assert client.keys == [0, 1]
    assert len(undecided.asked) == 2
    undecided.asked[1].callback("alice")
    vpn.advance(10)
    assert client.keys == [0, 1, 2]
    assert client.peer.is_open


def test_an_old_client_that_renegotiates_before_it_asks_may_still_ask() -> None:
    vpn = serving()
    client = ScriptedClient(vpn, {})
    client.renegotiate()
    assert client.keys == [0]
    vpn.advance(20)
    current = client.peer.session._keys.current
    assert current is not None
    current.send("PUSH_REQUEST")
    client.peer.pump()
    vpn.advance(10)
    assert client.texts[0].startswith("PUSH_REPLY,")
    assert client.keys == [0, 1]


def test_keys_and_the_end_of_tls_in_one_packet() -> None:
    vpn = pair(connect=False)
    vpn.server.start()
    client = vpn.add_client("eve")
    client.start()
    connection = client.service._connection
    assert connection is not None
    key = next(iter(connection.peer.session._keys))
    finish, transport = key.exchange.handshakeCompleted, key._transport
    written: list[bytes] = []

    def handshake_completed() -> None:
        write, transport.write = transport.write, written.append  # type: ignore[method-assign,assignment]
        finish()
        assert key._tls is not None
        key._tls.loseConnection()
        transport.write = write  # type: ignore[method-assign]
        transport.disconnecting = False
        transport.write(b"".join(written))

    key.exchange.handshakeCompleted = handshake_completed  # type: ignore[method-assign]
    vpn.advance(1)
    assert written
    vpn.advance(1)
    client.service.stopService()
    vpn.advance(120)
    assert_empty(vpn)


# Sessions that end in odd ways


def test_a_goodbye_from_a_new_address_leaves_nothing() -> None:
    vpn = serving()
    client = ScriptedClient(vpn)
    peer_id = client.pushed_value("peer-id")
    client.open_data(KeyDerivation.EXPORTER, int(peer_id or -1))
    vpn.network.move(client.link, ("203.0.113.9", 9999))
    client.peer.say_goodbye()
    vpn.advance(1)
    assert_empty(vpn)


def test_who_roams_takes_nobodys_address() -> None:
    vpn = serving()
    alice, bob = (ScriptedClient(vpn, name=name, port=port) for name, port in (("alice", 5001), ("bob", 5002)))
    for client in (alice, bob):
        client.open_data(KeyDerivation.EXPORTER, int(client.pushed_value("peer-id") or -1))
    leave_silently(bob)
    vpn.network.move(alice.link, ("203.0.113.1", 5002))
    for run in alice.peer.channel.seal_ping(vpn.clock.seconds()):
        alice.link.send_runs([run], SERVER_ADDRESS)
    vpn.advance(1)
    addresses = [connection.peer.address[1] for connection in vpn.server.factory.connections.values()]
    assert addresses == [5001, 5002]


def test_the_late_packets_of_a_session_that_has_ended_open_no_other() -> None:
    vpn = serving(control="none")
    client = ScriptedClient(vpn)
    client.peer.send_message("EXIT")
    vpn.advance(1)
    assert_empty(vpn)
    session = client.peer.session
    late = ControlPacket(
        Opcode.P_ACK_V1, 0, session.session_id, (7, 6, 5, 4, 3, 2, 1, 0), session.remote_session_id, None
    )
    client.link.send_control(encode_header(late) + encode_body(late), SERVER_ADDRESS)
    vpn.advance(1)
    assert_empty(vpn)


def test_a_stream_whose_reset_is_odd_keeps_no_place() -> None:
    vpn = serving(control="none", proto="tcp")
    link = vpn.server.accept(Sink(), ("203.0.113.1", 5000))
    odd = ControlPacket(Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, 0, b"eveseve1", (0,), b"whatever", 0)
    link.send_control(encode_header(odd) + encode_body(odd), SERVER_ADDRESS)
    vpn.advance(1)
    assert_empty(vpn)
    assert link.closed


def test_whoever_comes_while_the_server_stops_is_not_let_in() -> None:
    vpn = serving()
    factory = vpn.server.factory
    vpn.server.stop()
    wrapping = ControlKey.plain().new_wrapping()
    assert factory.open_peer(None, ("203.0.113.1", 1), wrapping, None) is None  # type: ignore[arg-type]


@implementer(ILinkReceiver)
class Sink:
    """A link's receiver that takes no notice."""

    def runs_received(self, link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
        pass

    def link_lost(self, link: ILink, reason: Failure) -> None:
        pass


class Clumsy(ClientProtocol):
    """An application with a fault."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        raise ZeroDivisionError("an application's fault")


class ClumsyFactory(VpnFactory):
    protocol = Clumsy


def test_an_applications_fault_keeps_no_address(faults: list[dict[str, Any]]) -> None:
    vpn = serving(factory_class=ClumsyFactory)
    client = ScriptedClient(vpn)
    client.peer.send_message("EXIT")
    vpn.advance(1)
    assert_empty(vpn)
    assert [event["log_failure"].check(ZeroDivisionError) for event in faults] == [ZeroDivisionError]
    faults.clear()


def test_a_chore_that_breaks_is_done_again(faults: list[dict[str, Any]]) -> None:
    vpn = serving()
    factory = vpn.server.factory
    calls: list[float] = []

    def enforce_crl() -> None:
        calls.append(vpn.clock.seconds())
        raise ZeroDivisionError

    vpn.server.stop()
    factory.enforce_crl = enforce_crl  # type: ignore[method-assign]
    service = vpn.server.service
    service._chore(5.0, factory.enforce_crl)
    vpn.advance(11)
    assert len(calls) == 2
    assert len(faults) == 2
    faults.clear()


# Memory and time


def test_control_messages_that_nobody_sends_are_not_kept() -> None:
    vpn = serving(control="none")
    client = ScriptedClient(vpn, MODERN)
    peer = only_peer(vpn)
    session = client.peer.session
    for message_id in range(3, 15):
        big = ControlPacket(Opcode.P_CONTROL_V1, 0, session.session_id, message_id=message_id, payload=bytes(60_000))
        client.link.send_control(encode_header(big) + encode_body(big), SERVER_ADDRESS)
    vpn.advance(1)
    assert peer.drops["malformed"] >= 10
    arrived = [message for key in peer.session._keys for message in key.reliable._arrived.values()]
    assert sum(len(message.payload) for message in arrived) < 20_000


def test_an_empty_control_message_is_nothing() -> None:
    vpn = serving(control="none")
    client = ScriptedClient(vpn, {})
    key = next(iter(client.peer.session._keys))
    key.reliable.enqueue(Opcode.P_CONTROL_V1, b"")
    client.peer.pump()
    assert client.say("PUSH_REQUEST")[0].startswith("PUSH_REPLY")


def test_a_peer_that_never_acknowledges_cannot_make_us_queue_for_ever() -> None:
    vpn = serving()
    client = ScriptedClient(vpn)
    peer = only_peer(vpn)
    key = next(iter(peer.session._keys))
    for _ in range(5000):
        key._transport.write(b"an answer")
        peer.pump()
    assert len(key.reliable._backlog) < 2000
    client.say("PUSH_REQUEST")
    vpn.advance(120)
    assert_empty(vpn)


def test_comings_and_goings_leave_nothing() -> None:
    set_verb(0)  # until an application begins to log, Twisted keeps all events, and they their senders
    vpn = serving()
    gone: list[weakref.ref[Peer]] = []
    for number in range(100):
        client = ScriptedClient(vpn, name="alice", port=5000 + number)
        gone.append(weakref.ref(only_peer(vpn)))
        client.peer.send_message("EXIT")
        vpn.advance(1)
        leave_silently(client)
    vpn.advance(120)
    gc.collect()
    assert_empty(vpn)
    assert sum(peer() is not None for peer in gone) == 0
    assert len(vpn.server.factory.deadlines._heap) < 100
    set_verb(11)


class Waits:
    """A waiter for a day that is far."""

    def deadline(self) -> float:
        return 1e6

    def tick(self, now: float) -> None:
        raise ZeroDivisionError


def test_who_is_forgotten_is_not_held_until_his_day_comes() -> None:
    vpn = serving()
    queue = DeadlineQueue(vpn.clock)
    gone: list[weakref.ref[Waits]] = []
    for _ in range(1000):
        waiter = Waits()
        queue.schedule(waiter)
        queue.forget(waiter)
        gone.append(weakref.ref(waiter))
    del waiter
    assert sum(one() is not None for one in gone) < 200


def test_a_timer_that_breaks_stops_no_other(faults: list[dict[str, Any]]) -> None:
    vpn = serving()
    queue, ticked = DeadlineQueue(vpn.clock), list[float]()

    class Good(Waits):
        def deadline(self) -> float:
            return 2e6 if ticked else 1e6

        def tick(self, now: float) -> None:
            ticked.append(now)

    queue.schedule(Waits())
    queue.schedule(Good())
    vpn.clock.advance(1e6 + 1)
    assert ticked
    assert faults
    faults.clear()


def test_keys_near_their_end_are_renewed_even_if_nobody_is_ever_silent() -> None:
    vpn = serving(server="reneg-sec 0\n")
    client = ScriptedClient(vpn)
    client.open_data(KeyDerivation.EXPORTER, 0)
    peer = only_peer(vpn)
    newest = peer.channel._keyring._newest
    assert newest is not None
    newest.sealer.packet_id = 0xFF000000
    assert peer.deadline() == 0.0
    peer.tick(vpn.clock.seconds())
    assert peer.deadline() != 0.0
    vpn.advance(1)
    assert client.keys == [0, 1]
