"""The client as a service: every state may be stopped, every failure has its wait, and nothing stays behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.fake_host import FakeHost
from twistvpn.client.service import TRANSITIONS, ClientState, VpnClientService
from twistvpn.config.load import parse
from twistvpn.crypto.clientkey import ServerKey
from twistvpn.crypto.statickey import StaticKey
from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import Address, ILink, ILinkReceiver
from twistvpn.link.proxies import ProxyRefusal
from twistvpn.memory import MemoryTun
from twistvpn.testing import SERVER_ADDRESS, Pair, pair, udp_packet

if TYPE_CHECKING:
    from twistvpn.config.settings import Remote
    from twistvpn.tun.netlink import NetworkConfigurator

UNREACHABLE = "203.0.113.66"


class Links:
    """Resolves and opens as the test says: an exception, or a Deferred that the test fires."""

    def __init__(self, vpn: Pair, hosts: list[str] | None = None) -> None:
        self.hosts = hosts or ["192.0.2.1"]
        self.resolving: Deferred[list[str]] | None = None
        self.opening: Deferred[None] | None = None
        self.broken: Exception | None = None
        self.tried: list[tuple[float, str]] = []
        self._vpn = vpn
        self._port = 6000

    async def addresses(self, remote: Remote) -> list[str]:
        if self.broken is not None:
            raise self.broken
        return list(self.hosts) if self.resolving is None else await self.resolving

    async def open(self, remote: Remote, host: str, receiver: ILinkReceiver) -> tuple[ILink, Address]:
        self.tried.append((self._vpn.clock.seconds(), host))
        if self.opening is not None:
            await self.opening
        if host == UNREACHABLE:
            raise OSError("no route to host")
        self._port += 1
        return self._vpn.network.link(receiver, ("198.51.100.9", self._port)), SERVER_ADDRESS


class Fixture:
    """A server that runs, and a client service with its own links and perhaps a host to configure."""

    def __init__(self, options: str = "", host: FakeHost | None = None, hosts: list[str] | None = None) -> None:
        self.vpn = pair(connect=False)
        self.vpn.server.start()
        text = self.vpn._client_text(self.vpn.authority.issue_client("client", self.vpn.valid_from))
        self.links = Links(self.vpn, hosts)
        self.tun = MemoryTun()
        self.fatal: list[str] = []
        self.host = host
        self.service = VpnClientService(
            self.vpn.clock,
            parse(text + options, "client.ovpn", "/"),
            self._open_tun,
            cast("NetworkConfigurator | None", host),
            self.fatal.append,
            links=self.links,
        )

    def _open_tun(self) -> MemoryTun:
        self.tun = MemoryTun()
        return self.tun

    @property
    def state(self) -> ClientState:
        return self.service.state

    def start(self) -> Fixture:
        self.service.privilegedStartService()
        self.service.startService()
        return self

    def stop(self) -> None:
        self.vpn.wait_for(self.service.stopService())

    def assert_nothing_left(self) -> None:
        assert self.state is ClientState.STOPPED
        assert self.tun.closed
        self.vpn.advance(1)
        self.vpn.wait_for(self.vpn.server.service.stopService())
        assert self.vpn.clock.getDelayedCalls() == []
        assert set(self.vpn.network._links) == set()


def resolving() -> Fixture:
    fixture = Fixture()
    fixture.links.resolving = Deferred()
    return fixture.start()


def opening() -> Fixture:
    fixture = Fixture()
    fixture.links.opening = Deferred()
    return fixture.start()


def joining() -> Fixture:
    fixture = Fixture()
    fixture.vpn.network.loss = 1.0
    fixture.start().vpn.advance(5)
    return fixture


def connected() -> Fixture:
    fixture = Fixture().start()
    fixture.vpn.wait_until(lambda: fixture.state is ClientState.CONNECTED)
    return fixture


def waiting() -> Fixture:
    fixture = Fixture()
    fixture.links.broken = OSError("no such name")
    return fixture.start()


@pytest.mark.parametrize(
    ("reach", "state"),
    [
        (resolving, ClientState.OPENING),
        (opening, ClientState.OPENING),
        (joining, ClientState.JOINING),
        (connected, ClientState.CONNECTED),
        (waiting, ClientState.WAITING),
        (Fixture, ClientState.STOPPED),
    ],
)
def test_every_state_may_be_stopped_and_leaves_nothing(reach: type[Fixture], state: ClientState) -> None:
    fixture = reach()
    assert fixture.state is state
    if state is ClientState.STOPPED:
        fixture.service.privilegedStartService()
    fixture.stop()
    fixture.assert_nothing_left()
    assert fixture.fatal == []


def test_every_state_can_be_left_and_the_end_reached_from_all() -> None:
    for state in ClientState:
        assert TRANSITIONS[state]
        if state not in {ClientState.STOPPED, ClientState.STOPPING}:
            assert {ClientState.STOPPING, ClientState.STOPPED} <= TRANSITIONS[state]
    assert set.union(*map(set, TRANSITIONS.values())) == set(ClientState)


def test_a_goodbye_that_nobody_hears_does_not_keep_us() -> None:
    fixture = connected()
    fixture.vpn.network.loss = 1.0
    before = fixture.vpn.clock.seconds()
    fixture.stop()
    assert 4.0 < fixture.vpn.clock.seconds() - before < 6.0
    assert fixture.tun.closed


def test_it_may_be_started_again() -> None:
    fixture = connected()
    first = fixture.tun
    fixture.stop()
    fixture.start()
    fixture.vpn.wait_until(lambda: fixture.state is ClientState.CONNECTED)
    assert fixture.tun is not first
    assert not fixture.tun.closed


# Trying again


def times(fixture: Fixture) -> list[float]:
    return [when for when, _ in fixture.links.tried]


def test_failures_are_tried_again_ever_later() -> None:
    fixture = Fixture("connect-retry 1 8", hosts=[UNREACHABLE]).start()
    fixture.vpn.advance(60)
    gaps = [later - earlier for earlier, later in zip(times(fixture), times(fixture)[1:], strict=False)]
    for gap, least in zip(gaps, [1, 2, 4, 8, 8, 8], strict=False):
        assert least <= gap <= least * 1.25 + 0.01
    assert fixture.fatal == []


def test_all_addresses_of_a_name_are_tried_before_the_wait_grows() -> None:
    fixture = Fixture(hosts=[UNREACHABLE, "192.0.2.1"]).start()
    fixture.vpn.wait_until(lambda: fixture.state is ClientState.CONNECTED)
    assert [host for _, host in fixture.links.tried] == [UNREACHABLE, "192.0.2.1"]


def test_the_next_remote_is_tried_when_one_does_not_answer() -> None:
    fixture = Fixture("remote 192.0.2.7 1194 udp\nserver-poll-timeout 10")
    fixture.links.hosts = ["192.0.2.1"]
    fixture.vpn.network.loss = 1.0
    fixture.start().vpn.advance(30)
    assert len(fixture.links.tried) >= 2
    fixture.vpn.network.loss = 0.0
    fixture.vpn.wait_until(lambda: fixture.state is ClientState.CONNECTED)


@pytest.mark.shows("server-poll-timeout", "hand-window")
@pytest.mark.parametrize(
    ("options", "seconds", "why"),
    [
        ("", 60, "nothing heard for 60 s (hand-window)"),
        ("hand-window 30", 30, "nothing heard for 30 s (hand-window)"),
        ("hand-window 300", 120, "no answer within 120 s"),
        ("server-poll-timeout 10", 10, "no answer within 10 s"),
    ],
)
def test_over_udp_the_shorter_of_two_waits_ends_a_try_that_is_not_answered(
    options: str, seconds: int, why: str
) -> None:
    vpn = pair(client=options, connect=False)
    vpn.client.start()
    with capturedLogs() as events:
        vpn.advance(seconds - 1)
        assert not any("trying again" in formatEvent(event) for event in events)
        vpn.advance(2)
    assert any(formatEvent(event).startswith(f"{why}; trying again") for event in events)


def test_rounds_may_be_bounded() -> None:
    fixture = Fixture("connect-retry-max 2", hosts=[UNREACHABLE]).start()
    fixture.vpn.advance(60)
    assert len(fixture.links.tried) == 2
    (why,) = fixture.fatal
    assert "no route to host" in why
    assert "connect-retry-max" in why
    fixture.assert_nothing_left()


def test_a_server_that_had_let_us_in_is_tried_first_and_soon() -> None:
    fixture = connected()
    fixture.vpn.network.loss = 1.0
    fixture.vpn.wait_until(lambda: fixture.state is ClientState.WAITING, within=70)
    lost_at = fixture.vpn.clock.seconds()
    fixture.vpn.network.loss = 0.0
    fixture.vpn.wait_until(lambda: fixture.state is ClientState.CONNECTED)
    assert fixture.vpn.clock.seconds() - lost_at < 2.0


# Refusals


def test_a_host_that_does_not_play_along_is_fatal_and_the_server_hears_goodbye() -> None:
    host = FakeHost()
    host.refuse = {"10.8.0.0/24"}
    fixture = Fixture(host=host).start()
    fixture.vpn.advance(5)
    (why,) = fixture.fatal
    assert "overlaps" in why
    assert fixture.vpn.server.factory.connections == {}
    fixture.assert_nothing_left()


def test_a_device_that_cannot_be_opened_is_told_at_once() -> None:
    fixture = Fixture()

    def refuse() -> MemoryTun:
        raise EnvironmentRefusal("cannot open a tun device")

    fixture.service.host._open_tun = refuse
    with pytest.raises(EnvironmentRefusal):
        fixture.service.privilegedStartService()


# The host


def test_the_host_is_configured_and_left_as_it_was() -> None:
    host = FakeHost()
    fixture = Fixture(host=host).start()
    fixture.vpn.wait_until(lambda: fixture.state is ClientState.CONNECTED)
    assert host.addresses == ["10.8.0.2/24 dev tun0", "fd00:8::1000/64 dev tun0"]
    assert host.is_up
    fixture.stop()
    assert host.addresses == host.routes == []
    assert fixture.tun.closed


def test_routes_stay_while_the_server_is_away_so_that_nothing_leaks() -> None:
    host = FakeHost()
    fixture = Fixture("redirect-gateway def1", host=host).start()
    fixture.vpn.wait_until(lambda: fixture.state is ClientState.CONNECTED)
    before = list(host.routes)
    assert before
    fixture.vpn.network.loss = 1.0
    fixture.vpn.advance(90)
    assert fixture.state is not ClientState.CONNECTED
    assert set(before) <= set(host.routes)
    fixture.vpn.network.loss = 0.0
    fixture.vpn.wait_until(lambda: fixture.state is ClientState.CONNECTED)
    assert set(host.routes) == set(before)


class DocumentedServiceTests(SynchronousTestCase):
    def test_packets_without_a_server_are_counted(self) -> None:
        fixture = joining()
        packet = udp_packet(fixture.vpn.server.address, fixture.vpn.server.address)
        fixture.tun.inject(packet, packet)
        assert fixture.service.drops == {"not-connected": 2}

    def test_an_application_hears_of_each_connection(self) -> None:
        fixture = Fixture()
        heard: list[object] = []
        fixture.service.on_connected = heard.append
        fixture.start()
        fixture.vpn.wait_until(lambda: heard)
        assert fixture.state is ClientState.CONNECTED


def test_ping_exit_ends_the_client_when_the_server_falls_silent() -> None:
    vpn = pair(client="ping-exit 30\npull-filter ignore ping-restart")
    vpn.network.loss = 1.0
    vpn.advance(60)
    assert vpn.client.fatal == "nothing heard for 30 s (ping-exit)"


def test_a_pushed_ping_restart_takes_the_place_of_a_ping_exit() -> None:
    vpn = pair(client="ping-exit 30")
    vpn.network.loss = 1.0
    vpn.advance(59)
    assert vpn.client.service.state is ClientState.CONNECTED
    vpn.advance(10)
    assert vpn.client.fatal is None
    vpn.network.loss = 0.0
    vpn.wait_until(lambda: vpn.client.times_connected == 2)


@pytest.mark.shows("ping-exit")
def test_a_pushed_ping_exit_takes_the_place_of_a_ping_restart() -> None:
    vpn = pair(server='push "ping-exit 20"', client="ping-restart 90\npull-filter ignore ping-restart")
    vpn.network.loss = 1.0
    vpn.advance(30)
    assert vpn.client.fatal == "nothing heard for 20 s (ping-exit)"


@pytest.mark.parametrize(
    ("control", "question"),
    [
        ("tls-crypt", "does it have the tls-crypt key that we have"),
        ("tls-auth", "does it have the tls-auth key that we have"),
        ("tls-crypt-v2", "is our tls-crypt-v2 key made from the server's"),
        ("none", "does it want no tls-crypt or tls-auth key"),
    ],
)
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_server_that_does_not_answer_is_asked_about_once_for_each_try(
    proto: Literal["udp", "tcp"], control: Literal["tls-crypt-v2", "tls-crypt", "tls-auth", "none"], question: str
) -> None:
    vpn = pair(connect=False, proto=proto, control="tls-crypt" if control == "none" else control)
    vpn._control = control
    vpn._static_key, vpn.server_key = StaticKey.generate().to_text(), ServerKey.generate()
    client = vpn.add_client("stranger", "connect-retry 15 15")
    with capturedLogs() as events:
        vpn.server.start()
        client.start()
        vpn.advance(14)
    told = [text for text in map(formatEvent, events) if question in text]
    assert len(told) == 1
    assert told[0].startswith("no answer from 192.0.2.1:1194: is a server there")
    reason = "control-key" if control != "none" else "malformed"
    assert set(vpn.server.factory.demux.drops) == {reason}


def test_a_client_that_connects_anew_at_once_has_not_waited_for_an_answer() -> None:
    vpn = pair(connect=False)
    vpn.client.start()
    vpn.advance(0.5)
    with capturedLogs() as events:
        vpn.client.service.reload()
    assert not [text for text in map(formatEvent, events) if text is not None and "no answer" in text]


def test_its_own_ping_exit_ends_a_client_that_is_not_answered_at_all() -> None:
    vpn = pair(client="ping-exit 30", connect=False)
    vpn.client.start()
    vpn.advance(29)
    assert vpn.client.fatal is None
    vpn.advance(2)
    assert vpn.client.fatal == "no answer within 30 s (ping-exit)"


def test_a_pushed_ping_restart_leads_back_to_the_clients_own_ping_exit() -> None:
    vpn = pair(client="ping-exit 20")
    vpn.network.loss = 1.0
    vpn.advance(60)
    assert vpn.client.fatal is None
    vpn.advance(30)
    assert vpn.client.fatal == "no answer within 20 s (ping-exit)"


def proxied(error: Exception | None = None) -> list[str]:
    """The lines of a client behind a proxy at 192.0.2.1, in its first seconds; `error` is what opening fails with."""
    fixture = Fixture("socks-proxy proxy.example 3128")
    if error is not None:
        fixture.links.opening = fail(error)
    with capturedLogs() as events:
        fixture.start()
        fixture.vpn.advance(3)
    fixture.stop()
    return [formatEvent(event) for event in events]


@pytest.mark.shows("socks-proxy")
def test_behind_a_proxy_it_is_still_the_server_that_is_connected_to() -> None:
    lines = proxied()
    way = "192.0.2.1:1194 via socks-proxy 192.0.2.1:3128"
    assert f"connecting to udp:{way} (proxy.example)" in lines
    assert any(line.startswith(f"connected to {way}, our address is ") for line in lines)


def test_a_proxy_that_is_out_of_reach_is_not_the_server() -> None:
    lines = proxied(OSError("no route to host"))
    assert any(line.startswith("cannot reach socks-proxy proxy.example:3128: no route to host;") for line in lines)
    lines = proxied(ProxyRefusal("the proxy says: not allowed by its rules"))
    via = "cannot reach 192.0.2.1 via socks-proxy proxy.example:3128: the proxy says: not allowed by its rules;"
    assert any(line.startswith(via) for line in lines)
