"""What a hostile or broken server may try with a client, and what must come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from twistvpn.client.link import LinkOpener, NameNotFound
from twistvpn.client.service import ClientState
from twistvpn.config.settings import ClientSettings, Remote
from twistvpn.interfaces import IAuthenticator
from twistvpn.testing import ClientEnd, Pair, pair
from twistvpn.wire.keymethod import KeyMethod2, KeySource

if TYPE_CHECKING:
    from collections.abc import Callable

    from twistvpn.interfaces import Credentials
    from twistvpn.peer import Peer

ADDRESSES = "topology subnet,ifconfig 10.8.0.2 255.255.255.0,cipher AES-256-GCM,key-derivation tls-ekm,peer-id 0"


pytestmark = pytest.mark.usefixtures("faults")


@implementer(IAuthenticator)
class Undecided:
    """Never decides, so that the server never says anything by itself."""

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        return Deferred()


class HostileServer:
    """A server that says what the test wants to a client that waits for its options."""

    def __init__(self) -> None:
        self.vpn = pair(connect=False, authenticator=Undecided(), server="reneg-sec 0\n", client="reneg-sec 0\n")
        self.vpn.server.start()
        self.client.start()
        self.vpn.advance(1)
        (self.peer,) = self.vpn.server.factory.connections

    @property
    def client(self) -> ClientEnd:
        return self.vpn.client

    def say(self, text: str, seconds: float = 1.0) -> None:
        self.peer.send_message(text)
        self.vpn.advance(seconds)

    def renegotiate(self) -> None:
        self.peer._handler.session_event = lambda *_: None  # type: ignore[method-assign]
        self.peer.session.renegotiate(self.vpn.clock.seconds())
        self.peer.pump()
        self.vpn.advance(1)


def test_what_is_pushed_is_taken() -> None:
    server = HostileServer()
    server.say(f"PUSH_REPLY,{ADDRESSES}")
    assert server.client.is_connected


@pytest.mark.parametrize(
    "option",
    [
        f"ping {'9' * 200}",
        f"ping-restart {2**31}",
        "ping -1",
        "route 10.0.0.0 255.0.0.0 vpn_gateway 99999999999",
        "route 10.0.0.0 255.0.0.0 vpn_gateway -1",
        "route-ipv6 fd00::/8 fd00::1 4294967296",
        "tun-mtu 9999999999999999999999",
        "peer-id 16777216",
        "ifconfig 999.0.0.1 255.255.255.0",
        "route-gateway",
        "ifconfig 0.0.0.0 255.255.255.0",
        "ifconfig 127.0.0.1 255.0.0.0",
        "ifconfig 224.0.0.5 255.255.255.0",
        "ifconfig 255.255.255.255 255.255.255.0",
        "ifconfig 10.8.0.0 255.255.255.0",
        "ifconfig 10.8.0.255 255.255.255.0",
        "ifconfig-ipv6 ::/64",
        "ifconfig-ipv6 ff02::1/64",
        "ifconfig-ipv6 ::1/128",
        "ifconfig-ipv6 ::ffff:a00:1/96",
    ],
)
def test_an_option_that_cannot_be_is_told_in_one_line(option: str) -> None:
    server = HostileServer()
    server.say(f"PUSH_REPLY,{ADDRESSES},{option}")
    server.vpn.advance(10)
    fatal = server.client.fatal
    assert fatal is not None
    name, *words = option.split()
    assert name in fatal or words[0].partition("/")[0] in fatal
    assert "\n" not in fatal


def test_a_broken_token_does_not_show() -> None:
    server = HostileServer()
    server.say(f'PUSH_REPLY,{ADDRESSES},auth-token "c2VjcmV0')
    server.vpn.advance(10)
    assert server.client.fatal is not None
    assert "c2VjcmV0" not in server.client.fatal


@pytest.mark.parametrize("text", ["AUTH_FAILED,\x1b[2Jgo away", "HALT,one\ntwo", "PUSH_REPLY,ifconfig 1.2.3.4\x01"])
def test_what_cannot_be_printed_is_no_message(text: str) -> None:
    server = HostileServer()
    server.say(text, 10.0)
    assert server.client.fatal is None
    server.say(f"PUSH_REPLY,{ADDRESSES}\r\n")
    assert server.client.is_connected


def test_a_server_that_renegotiates_before_it_pushes_is_left() -> None:
    server = HostileServer()
    server.renegotiate()
    server.vpn.advance(0.5)
    assert server.client.service.state in {ClientState.WAITING, ClientState.OPENING, ClientState.JOINING}
    assert server.client.fatal is None


def test_pushes_without_end_are_not_collected() -> None:
    server = HostileServer()
    options = ",".join(f"route 10.{number}.0.0 255.255.0.0" for number in range(30))
    for _ in range(200):
        server.say(f"PUSH_REPLY,{options},push-continuation 2", 0.2)
    connection = server.client.service._connection
    assert connection is None or sum(map(len, connection._pull._options)) <= 64 * 1024


def test_the_end_of_tls_together_with_the_options() -> None:
    server = HostileServer()
    key = next(iter(server.peer.session._keys))
    write, written = key._transport.write, list[bytes]()
    key._transport.write = written.append  # type: ignore[method-assign,assignment]
    key.send(f"PUSH_REPLY,{ADDRESSES}")
    assert key._tls is not None
    key._tls.loseConnection()
    key._transport.disconnecting = False
    write(b"".join(written))
    server.peer.pump()
    server.vpn.advance(10)
    assert server.client.fatal is None
    assert server.client.service.state is not ClientState.CONNECTED


def test_a_login_that_does_not_fit_is_told_and_not_sent() -> None:
    vpn = pair(connect=False)
    vpn.server.start()
    client = vpn.client
    message = KeyMethod2(KeySource.generate_client(), "V4", "x" * 3000, "", "")
    client.service._connector._offer = lambda _owner, _link: message  # type: ignore[method-assign,assignment]
    lines: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        lines.append(event.get("reason", ""))

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    client.start()
    vpn.advance(5)
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
    assert any("a string of the key exchange has a NUL or more than" in str(line) for line in lines)


def stop_at_once(vpn: Pair) -> None:
    vpn.server.start()
    vpn.client.start()


def stop_in_the_handshake(vpn: Pair) -> None:
    stop_at_once(vpn)
    vpn.advance(0.05)


def stop_connected(vpn: Pair) -> None:
    vpn.connect()


def stop_while_the_server_is_silent(vpn: Pair) -> None:
    vpn.connect()
    vpn.network.loss = 1.0


def stop_before_the_next_try(vpn: Pair) -> None:
    vpn.connect()
    vpn.server.stop()
    vpn.wait_until(lambda: vpn.client.service.state is ClientState.WAITING)


def stop_while_saying_goodbye(vpn: Pair) -> None:
    vpn.connect()
    peer: Peer | None = vpn.client.service.peer
    assert peer is not None
    vpn.network.loss = 1.0
    vpn.client.service.reload()
    assert not peer.is_open


def stop_after_giving_up(vpn: Pair) -> None:
    vpn.connect()
    (peer,) = vpn.server.factory.connections
    peer.send_message("HALT")
    vpn.wait_until(lambda: vpn.client.fatal)


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize(
    "reach",
    [
        stop_at_once,
        stop_in_the_handshake,
        stop_connected,
        stop_while_the_server_is_silent,
        stop_before_the_next_try,
        stop_while_saying_goodbye,
        stop_after_giving_up,
    ],
)
def test_a_client_can_be_stopped_in_every_state(reach: Callable[[Pair], None], proto: Any) -> None:
    vpn = pair(connect=False, proto=proto)
    reach(vpn)
    vpn.client.stop()
    assert vpn.client.service.state is ClientState.STOPPED
    assert vpn.client.tun.closed
    if vpn.server.service.running:
        vpn.server.stop()
    vpn.advance(10)
    assert not vpn.clock.getDelayedCalls()


def test_told_to_connect_anew_it_does() -> None:
    vpn = pair()
    vpn.client.service.reload()
    vpn.wait_until(lambda: vpn.client.times_connected == 2)
    assert vpn.client.is_connected
    (peer,) = vpn.server.factory.connections
    assert peer.is_open


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "vpn..example.org", "\udcff"])
def test_what_cannot_be_a_host_name_is_told(host: str) -> None:
    opener = LinkOpener(None, ClientSettings(remotes=()))
    with pytest.raises(NameNotFound):
        opener.addresses(Remote(host, 1194, "udp")).send(None)


@pytest.mark.parametrize(
    ("host", "plain"), [("192.0.2.1", "192.0.2.1"), ("2001:DB8::0001", "2001:db8::1"), ("::ffff:1.2.3.4", None)]
)
def test_an_address_is_written_as_the_kernel_does(host: str, plain: str | None) -> None:
    opener = LinkOpener(None, ClientSettings(remotes=()))
    with pytest.raises(StopIteration) as found:
        opener.addresses(Remote(host, 1194, "udp")).send(None)
    assert found.value.value == [plain or host]
