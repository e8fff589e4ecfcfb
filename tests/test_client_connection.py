"""What the client makes of each message of its server, up to the end that each of them means."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from zope.interface import implementer

from twistvpn.client.pulling import PUSH_REQUEST_INTERVAL
from twistvpn.client.service import ClientState
from twistvpn.config.settings import DataSettings, PointToPoint
from twistvpn.interfaces import Address, Credentials, IAuthenticator
from twistvpn.testing import SERVER_ADDRESS, ClientEnd, Pair, pair, transfer, udp_packet
from twistvpn.wire.messages import PushRequest, decode_message

if TYPE_CHECKING:
    from twistvpn.client.connection import ClientConnection
    from twistvpn.peer import Peer

ELSEWHERE = ("203.0.113.99", 1194)

USUAL = "PUSH_REPLY,topology subnet,ifconfig 10.8.0.2 255.255.255.0,route-gateway 10.8.0.1,peer-id 0,cipher AES-256-GCM"


@implementer(IAuthenticator)
class Undecided:
    """Leaves the client waiting, so that the test is who answers."""

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        return Deferred()


def waiting(**options: Any) -> Pair:
    """A client that has been through the key exchange and asks for its options."""
    vpn = pair(authenticator=Undecided(), connect=False, **options)
    vpn.server.start()
    vpn.client.start()
    vpn.advance(1)
    assert vpn.client.service.state is ClientState.JOINING
    return vpn


def server_peer(vpn: Pair) -> Peer:
    (peer,) = vpn.server.factory.connections
    return peer


def say(vpn: Pair, *texts: str) -> ClientEnd:
    """Let the server say something, and the client think about it."""
    peer = server_peer(vpn)
    for text in texts:
        peer.send_message(text)
    vpn.advance(0.5)
    return vpn.client


# PUSH_REPLY


def test_a_reply_connects() -> None:
    client = say(waiting(), USUAL)
    assert client.is_connected
    assert str(client.address) == "10.8.0.2"


def test_the_other_end_in_point_to_point_mode_pushes_nothing() -> None:
    vpn = pair()
    connection, pushed = vpn.client.service._connection, vpn.client.pushed
    assert connection is not None
    connection._settings = replace(connection._settings, point_to_point=PointToPoint(()))
    say(vpn, "PUSH_UPDATE,route 0.0.0.0 128.0.0.0", "PUSH_REPLY,auth-token theirs")
    assert vpn.client.is_connected
    assert connection.pushed == pushed
    assert vpn.client.service.login.shown() == ("", "")


def test_a_reply_in_parts_connects_with_the_last() -> None:
    vpn = waiting()
    client = say(vpn, f"{USUAL},push-continuation 2")
    assert not client.is_connected
    say(vpn, "PUSH_REPLY,route 10.1.0.0 255.255.0.0,push-continuation 2")
    assert not client.is_connected
    say(vpn, "PUSH_REPLY,ping 7,push-continuation 1")
    assert client.is_connected
    assert client.pushed is not None
    assert client.pushed.ping == 7.0
    assert len(client.pushed.routes) == 1


def test_a_second_reply_changes_nothing() -> None:
    vpn = waiting()
    client = say(vpn, USUAL, USUAL.replace("10.8.0.2", "10.8.0.77"))
    assert str(client.address) == "10.8.0.2"
    assert client.times_connected == 1


def test_an_option_that_does_not_parse_is_fatal_and_named() -> None:
    client = say(waiting(), f"{USUAL},ping often")
    assert client.fatal is not None
    assert "'ping often'" in client.fatal
    assert client.service.state is ClientState.STOPPED


def test_endless_pushes_are_the_end() -> None:
    vpn = waiting()
    with capturedLogs() as logged:
        say(vpn, *[f"PUSH_REPLY,{'x' * 1900},push-continuation 2"] * 40)
        vpn.advance(30)
    assert vpn.client.fatal is None
    assert any("pushes without end" in str(event.get("reason")) for event in logged)


def test_the_client_asks_every_five_seconds_until_it_is_answered() -> None:
    vpn = waiting()
    asked: list[float] = []
    (connection,) = vpn.server.factory.connections.values()

    def note(text: str) -> None:
        assert decode_message(text) == PushRequest()
        asked.append(vpn.clock.seconds())

    connection._message_received = note  # type: ignore[method-assign]
    vpn.advance(20)
    assert len(asked) == 4
    assert asked[1] - asked[0] == pytest.approx(PUSH_REQUEST_INTERVAL)
    say(vpn, USUAL)
    vpn.advance(30)
    assert len(asked) <= 5


def test_without_an_answer_it_tries_again() -> None:
    vpn = waiting(client="hand-window 20")
    server_peer(vpn).set_keepalive(0, 0)
    vpn.advance(40)
    assert vpn.client.fatal is None
    assert len({peer.address for peer in vpn.server.factory.connections}) == 2, "from another port"


def test_a_pending_authentication_may_take_longer() -> None:
    vpn = waiting(client="hand-window 20", server="hand-window 200")
    say(vpn, "AUTH_PENDING,timeout 100")
    vpn.advance(90)
    assert say(vpn, USUAL).is_connected


# Ciphers


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ("cipher AES-192-GCM", "pushes the cipher AES-192-GCM, which data-ciphers does not have"),
        ("cipher BF-CBC", "BF-CBC"),
    ],
)
def test_a_cipher_that_we_do_not_want_is_fatal(replaced: str, words: str) -> None:
    client = say(waiting(), USUAL.replace("cipher AES-256-GCM", replaced))
    assert client.fatal is not None
    assert words in client.fatal


def test_without_a_pushed_cipher_it_is_the_one_of_the_servers_options() -> None:
    vpn = waiting()
    client = say(vpn, USUAL.replace(",cipher AES-256-GCM", ""))
    assert client.is_connected


def test_without_any_cipher_the_mend_is_named() -> None:
    vpn = waiting()
    connection = vpn.client.service._connection
    assert connection is not None
    connection._server_occ = "V4,dev-type tun"
    connection._settings = replace(connection._settings, data=DataSettings())
    client = say(vpn, USUAL.replace(",cipher AES-256-GCM", ""))
    assert client.fatal is not None
    assert "data-ciphers-fallback" in client.fatal


def test_the_fallback_is_taken_where_the_server_negotiates_nothing() -> None:
    vpn = waiting(client="data-ciphers-fallback AES-192-GCM")
    connection = vpn.client.service._connection
    assert connection is not None
    connection._server_occ = "V4,dev-type tun"
    assert say(vpn, USUAL.replace(",cipher AES-256-GCM", "")).is_connected


def test_a_server_whose_own_cipher_is_not_wanted_is_named_with_it() -> None:
    vpn = waiting(client="data-ciphers-fallback AES-192-GCM")
    connection = vpn.client.service._connection
    assert connection is not None
    connection._server_occ = "V4,dev-type tun,cipher AES-256-CBC"
    client = say(vpn, USUAL.replace(",cipher AES-256-GCM", ""))
    assert client.fatal is not None
    assert "the server's cipher is AES-256-CBC; add it to data-ciphers" in client.fatal


@pytest.mark.parametrize("lines", ["data-ciphers AES-256-CBC", "cipher AES-256-CBC"])
def test_a_server_that_pushes_no_cipher_is_followed(lines: str) -> None:
    vpn = waiting(client=lines)
    connection = vpn.client.service._connection
    assert connection is not None
    connection._server_occ = "V4,dev-type tun,cipher AES-256-CBC"
    assert say(vpn, USUAL.replace(",cipher AES-256-GCM", "")).is_connected
    assert connection.peer._keying._terms.cipher == "AES-256-CBC"


@pytest.mark.parametrize("replaced", ["cipher AES-256-CBC", "cipher AES-256-GCM"])
def test_epochs_without_what_they_need_are_fatal(replaced: str) -> None:
    vpn = waiting(client="data-ciphers DEFAULT:AES-256-CBC")
    text = USUAL.replace("cipher AES-256-GCM", f"{replaced},protocol-flags aead-epoch")
    client = say(vpn, ",".join(word for word in text.split(",") if not word.startswith("peer-id")))
    assert client.fatal is not None
    assert "aead-epoch, which needs a peer-id and an AEAD cipher" in client.fatal


# What else the server may say


@pytest.mark.parametrize(
    ("text", "options", "fatal"),
    [
        ("AUTH_FAILED", "", "AUTH_FAILED"),
        ("AUTH_FAILED,wrong password", "", "wrong password"),
        ("AUTH_FAILED,wrong password", "auth-retry nointeract", None),
        ("AUTH_FAILED,TEMP[backoff 2]:come back later", "", None),
        ("HALT,go away", "", "go away"),
        ("HALT", "", "HALT"),
        ("RESTART", "", None),
        ("EXIT", "", None),
    ],
)
def test_each_kind_of_end(text: str, options: str, fatal: str | None) -> None:
    vpn = waiting(client=options)
    client = say(vpn, text)
    if fatal is None:
        assert client.fatal is None
        assert client.service.state is ClientState.WAITING
    else:
        assert client.fatal is not None
        assert fatal in client.fatal
        assert client.tun.closed


@pytest.mark.parametrize(
    ("text", "host"), [("RESTART", "192.0.2.1"), ("RESTART,[N]", "192.0.2.9"), ("RESTART,[P,N]:moving", "192.0.2.9")]
)
def test_a_restart_may_name_the_next_remote(text: str, host: str) -> None:
    vpn = pair(client="remote 192.0.2.9 1194 udp")
    say(vpn, text)
    assert vpn.client.service._remotes.current().host == host


@pytest.mark.parametrize(
    ("flags", "advance"), [("", "1"), ("advance no", "1"), ("advance addr", "9"), ("advance remote", "9")]
)
def test_a_temporary_refusal_may_send_us_elsewhere(flags: str, advance: str) -> None:
    vpn = waiting(client="remote 192.0.2.9 1194 udp")
    say(vpn, f"AUTH_FAILED,TEMP[{flags}]:busy")
    assert vpn.client.service._remotes.current().host == f"192.0.2.{advance}"


@pytest.mark.parametrize("text", ["RESTART", "EXIT"])
def test_a_connected_client_comes_back(text: str) -> None:
    vpn = pair()
    say(vpn, text)
    assert not vpn.client.is_connected
    vpn.wait_until(lambda: vpn.client.times_connected == 2)


def test_what_the_server_says_is_acknowledged_before_we_go() -> None:
    vpn = waiting()
    peer = server_peer(vpn)
    say(vpn, "AUTH_FAILED")
    assert peer.session.settled


def test_information_is_logged_and_the_rest_ignored() -> None:
    vpn = waiting()
    with capturedLogs() as logged:
        client = say(vpn, "INFO,maintenance at noon", "INFO_PRE,WEB_AUTH::https://example.org", "WHATEVER", USUAL)
    assert client.is_connected
    said = [event.get("text") for event in logged]
    assert "maintenance at noon" in said


def test_options_that_change_nothing_here_are_logged() -> None:
    vpn = waiting()
    with capturedLogs() as logged:
        assert say(vpn, f"{USUAL},block-outside-dns").is_connected
    assert any(event.get("option") == "block-outside-dns" for event in logged)


# Data and time


def said_by_a_stranger(vpn: Pair) -> ClientConnection:
    """Data of the server's that does not come from its address."""
    connection = vpn.client.service._connection
    assert connection is not None
    captured: list[bytes] = []

    def take(datagram: bytes, source: Address, destination: Address) -> bool:
        if source == SERVER_ADDRESS:
            captured.append(datagram)
        return source != SERVER_ADDRESS

    vpn.advance(1)
    vpn.network.keep = take
    vpn.server.inject(udp_packet(vpn.server.address, vpn.client.address))
    vpn.advance(1)
    vpn.network.keep = None
    stranger = vpn.network.link(connection, ELSEWHERE)
    for datagram in b"\x48\0\0\0" + bytes(60), captured[0]:
        stranger.send_control(datagram, vpn.client.link.address)
    vpn.advance(1)
    return connection


def test_datagrams_from_elsewhere_than_the_server_are_dropped_and_counted() -> None:
    vpn = pair()
    connection = said_by_a_stranger(vpn)
    assert vpn.client.tun.written == []
    assert connection.unknown_sources == 2


@pytest.mark.shows("float")
def test_with_float_data_that_is_authentic_moves_the_server() -> None:
    vpn = pair(client="float")
    connection = said_by_a_stranger(vpn)
    assert len(vpn.client.tun.written) == 1
    assert connection.peer.address == ELSEWHERE
    assert connection.unknown_sources == 0


def test_keepalive_is_the_pushed_one_else_our_own() -> None:
    vpn = waiting(client="ping 3\nping-restart 9")
    say(vpn, f"{USUAL},ping 5")
    connection = vpn.client.service._connection
    assert connection is not None
    keepalive = connection.peer.timers.keepalive
    assert (keepalive.ping, keepalive.ping_restart) == (5.0, 9.0)


def test_a_stream_that_closes_is_connected_again() -> None:
    vpn = pair(proto="tcp")
    server_peer(vpn).link.close()
    vpn.advance(0.5)
    assert vpn.client.service.state is ClientState.WAITING
    vpn.wait_until(lambda: vpn.client.times_connected == 2)


# Goodbye


def test_a_server_that_knows_cc_exit_hears_it_on_the_control_channel() -> None:
    vpn = pair()
    assert vpn.client.pushed is not None
    assert "cc-exit" in vpn.client.pushed.protocol_flags
    vpn.client.stop()
    assert vpn.server.factory.connections == {}


def without_cc_exit(vpn: Pair) -> None:
    """Let the client believe that its server knows no goodbye on the control channel."""
    vpn.advance(1)
    connection = vpn.client.service._connection
    assert connection is not None
    assert connection.pushed is not None
    object.__setattr__(connection.pushed, "protocol_flags", frozenset())
    hello = udp_packet(vpn.client.address, vpn.server.address)
    assert transfer(vpn.client, vpn.server, hello) == [hello]


def test_an_older_server_hears_it_on_the_data_channel() -> None:
    vpn = pair()
    without_cc_exit(vpn)
    vpn.client.stop()
    vpn.advance(1)
    assert vpn.server.factory.connections == {}


@pytest.mark.shows("explicit-exit-notify")
@pytest.mark.parametrize(
    ("own", "pushed", "proto", "tries"),
    [
        ("", 1, "udp", 1),
        ("explicit-exit-notify 3", 4, "udp", 4),
        ("", 1000, "udp", 10),
        ("explicit-exit-notify 3", 1, "tcp", 1),
    ],
)
def test_it_is_said_as_often_as_the_admin_wants_it(
    own: str, pushed: int, proto: Literal["udp", "tcp"], tries: int
) -> None:
    vpn = pair(client=own, server=f'push "explicit-exit-notify {pushed}"', proto=proto)
    without_cc_exit(vpn)
    peer = server_peer(vpn)
    said: list[float] = []
    peer.channel.on_occ = lambda _kind, _rest: said.append(vpn.clock.seconds())
    stopped: list[None] = []
    vpn.client.service.stopService().addCallback(stopped.append)
    vpn.advance(20)
    assert len(said) == tries
    assert [round(later - said[0]) for later in said] == list(range(tries))
    assert stopped == [None]


@pytest.mark.shows("explicit-exit-notify")
@pytest.mark.parametrize(("own", "tries"), [("", 0), ("explicit-exit-notify", 1)])
def test_an_older_end_in_point_to_point_mode_hears_it_where_the_admin_wants_it(own: str, tries: int) -> None:
    vpn = pair(client=own, server='push "explicit-exit-notify 0"' if not own else "")
    without_cc_exit(vpn)
    connection = vpn.client.service._connection
    assert connection is not None
    object.__setattr__(connection._settings, "point_to_point", PointToPoint())
    said: list[int] = []
    server_peer(vpn).channel.on_occ = lambda kind, _rest: said.append(kind)
    vpn.client.stop()
    vpn.advance(5)
    assert len(said) == tries


def test_a_goodbye_before_there_is_a_tunnel_is_silent() -> None:
    vpn = waiting()
    sent = vpn.network.counts["sent"]
    vpn.client.stop()
    vpn.advance(0.5)
    assert vpn.network.counts["sent"] == sent
    assert vpn.client.service.state is ClientState.STOPPED
