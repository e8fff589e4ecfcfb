"""The server as a service: what it takes it gives back, and what it cannot have is one line."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent

from tests.certificates import YESTERDAY, authority, server_certificate
from tests.fake_host import FakeHost
from twistvpn.config.load import parse
from twistvpn.config.settings import BridgeSettings, DeviceSettings, Listen, Route, Settings
from twistvpn.data.bridge import MacTable
from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import DeviceType, Frame
from twistvpn.memory import MemoryTun
from twistvpn.overrides import ClientOverrides
from twistvpn.server import listening
from twistvpn.server.auth import CertificateAuthenticator
from twistvpn.server.service import CRL_INTERVAL, FAREWELL, LLADDR_INTERVAL, VpnServerService, own_addresses
from twistvpn.server.status import dropped, format_status
from twistvpn.testing import pair, transfer, udp_packet

if TYPE_CHECKING:
    from pathlib import Path

    from twistvpn.tun.netlink import NetworkConfigurator

UDP = Listen("udp", "127.0.0.1", 0)
TCP = Listen("tcp", "127.0.0.1", 0)


def settings(*listen: Listen, options: str = "", **changes: Any) -> Settings:
    parsed = parse(pair(connect=False)._server_text() + options, "server.conf", "/")
    assert parsed.server is not None
    return replace(parsed, server=replace(parsed.server, listen=listen or (UDP,), **changes))


class Fixture:
    def __init__(self, configured: Settings, host: FakeHost | None = None) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.tuns: list[MemoryTun] = []
        self.fatal: list[str] = []
        self.service = VpnServerService(
            self.reactor,
            configured,
            self._open_tun,
            cast("NetworkConfigurator | None", host),
            CertificateAuthenticator(),
            self.fatal.append,
        )

    def _open_tun(self) -> MemoryTun:
        self.tuns.append(MemoryTun())
        return self.tuns[-1]

    def start(self) -> Fixture:
        self.service.privilegedStartService()
        self.service.startService()
        return self

    def stop(self) -> None:
        done: list[None] = []
        self.service.stopService().addCallback(done.append)
        self.reactor.pump([0.1] * 20)
        assert done == [None]


def test_the_device_and_the_ports_are_there_before_privileges_go() -> None:
    fixture = Fixture(settings(UDP, TCP))
    fixture.service.privilegedStartService()
    assert len(fixture.tuns) == 1
    assert len(fixture.reactor.adoptedPorts) == 1
    assert fixture.reactor.getReaders() == [], "nothing is served yet"
    fixture.service.startService()
    assert len(fixture.tuns) == 1
    assert len(fixture.reactor.getReaders()) == 1
    described = fixture.service.listeners.described()
    assert described[0].startswith("udp:127.0.0.1:")
    assert described[1].startswith("tcp:")
    fixture.stop()


def test_start_service_alone_will_do() -> None:
    fixture = Fixture(settings())
    fixture.service.startService()
    assert len(fixture.tuns) == 1
    fixture.stop()


def test_everything_is_given_back() -> None:
    host = FakeHost()
    routes = (Route(IPv4Network("192.168.7.0/24"), None, 5),)
    fixture = Fixture(settings(UDP, TCP, routes=routes), host).start()
    assert host.addresses == ["10.8.0.1/24 dev tun0", "fd00:8::1/64 dev tun0"]
    assert host.routes == ["192.168.7.0/24 dev tun0 metric 5"]
    assert host.is_up
    fixture.stop()
    assert host.addresses == host.routes == []
    assert fixture.tuns[0].closed
    assert fixture.reactor.getReaders() == []
    assert fixture.reactor.getDelayedCalls() == []
    assert fixture.service.factory is None


@pytest.mark.parametrize("topology", ["net30", "p2p"])
def test_in_point_to_point_topologies_the_device_has_another_end(topology: str) -> None:
    host = FakeHost()
    Fixture(settings(options=f"topology {topology}\nroute 192.168.7.0 255.255.255.0\n"), host).start().stop()
    assert host.added == [
        *("10.8.0.1/32 dev tun0", "10.8.0.2/32 dev tun0", "fd00:8::1/64 dev tun0"),
        *("10.8.0.0/24 dev tun0", "192.168.7.0/24 dev tun0"),
    ]


def test_addresses_or_routes_may_be_somebody_elses_affair() -> None:
    for option, added in (("ifconfig", ["192.168.7.0/24 dev tun0"]), ("route", ["10.8.0.1/24 dev tun0"])):
        host = FakeHost()
        Fixture(settings(options=f"{option}-noexec\nroute 192.168.7.0 255.255.255.0\n"), host).start().stop()
        assert host.added[:1] == added
        assert host.is_up is (option == "route")


def test_a_tap_keeps_its_own_addresses_to_itself() -> None:
    host = FakeHost()
    device = DeviceSettings(dev="tap", dev_type=DeviceType.TAP, lladdr="02:00:5e:10:00:01")
    routes = (Route(IPv4Network("192.168.7.0/24"), "10.8.0.9"), Route(IPv4Network("192.168.8.0/24")))
    fixture = Fixture(replace(settings(UDP, routes=routes), device=device), host).start()
    assert host.routes == ["192.168.7.0/24 via 10.8.0.9 dev tun0", "192.168.8.0/24 dev tun0"]
    assert fixture.service.factory is not None
    table = fixture.service.factory.routes
    assert isinstance(table, MacTable)
    assert table.own == {bytes.fromhex("02005e100001")}
    host.lladdr = "02:00:5e:10:00:02"
    fixture.reactor.advance(LLADDR_INTERVAL)
    assert table.own == {bytes.fromhex("02005e100002")}
    fixture.stop()


@pytest.mark.parametrize("is_port", [False, True])
def test_a_bridged_server_whose_tap_is_no_port_says_so(*, is_port: bool) -> None:
    host = FakeHost()
    host.is_port = is_port
    device = DeviceSettings(dev="tap", dev_type=DeviceType.TAP)
    bridged = replace(settings(UDP, bridge=BridgeSettings(), network=None, pool=None), device=device)
    with capturedLogs() as events:
        Fixture(bridged, host).start().stop()
    told = [text for event in events if "server-bridge: " in (text := formatEvent(event) or "")]
    assert len(told) == (0 if is_port else 1)
    assert is_port or "ip link set tun0 up master BRIDGE" in told[0]


def test_it_may_be_stopped_before_and_after_and_started_again() -> None:
    fixture = Fixture(settings())
    fixture.stop()
    fixture.start().stop()
    fixture.start()
    assert len(fixture.tuns) == 2
    fixture.stop()


def test_a_network_that_overlaps_is_refused_before_anything_is_opened() -> None:
    host = FakeHost()
    host.refuse = {"10.8.0.0/24"}
    fixture = Fixture(settings(), host)
    with pytest.raises(EnvironmentRefusal, match="overlaps"):
        fixture.service.privilegedStartService()
    assert fixture.tuns == []


def test_a_port_in_use_is_refused_and_the_device_given_back() -> None:
    host = FakeHost()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        fixture = Fixture(settings(TCP, Listen("udp", "127.0.0.1", taken.getsockname()[1])), host)
        with pytest.raises(EnvironmentRefusal):
            fixture.service.privilegedStartService()
    assert fixture.tuns[0].closed
    assert host.undone == 1
    assert fixture.service.factory is None


def test_a_tcp_port_in_use_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        fixture = Fixture(settings(Listen("tcp", "127.0.0.1", taken.getsockname()[1])))
        with pytest.raises(EnvironmentRefusal, match="tcp"):
            fixture.service.privilegedStartService()


@pytest.mark.parametrize(
    ("endpoint", "around"),
    [
        ("tcp:0", ""),
        ("ssl:0:privateKey={pem}:certKey={pem}", " in TLS"),
        ("haproxy:tcp:0", " behind a proxy (PROXY protocol)"),
    ],
)
def test_endpoints_are_listened_on_for_both_ip_versions_and_told(endpoint: str, around: str, tmp_path: Path) -> None:
    pem, issued = tmp_path / "web.pem", server_certificate()
    pem.write_text(issued.certificate_pem + issued.key_pem)
    listen = Listen("tcp", "", 0, endpoint=endpoint.format(pem=pem))
    with capturedLogs() as logged:
        fixture = Fixture(settings(listen)).start()
    plain = Fixture(settings(Listen("tcp", "", 0))).start()
    assert fixture.reactor.adoptedPorts[0][1] == plain.reactor.adoptedPorts[0][1]
    (told,) = (event["local"] for event in logged if "local" in event)
    assert told.endswith(around)
    assert told.startswith("tcp:")
    for each in (fixture, plain):
        each.stop()


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("no-such-thing:1", "no-such-thing"),
        ("ssl:443:privateKey=/nowhere/key.pem:certKey=/nowhere/cert.pem", "No such file or directory: '/nowhere/"),
    ],
)
def test_a_server_with_an_endpoint_that_does_not_work_does_not_start(endpoint: str, why: str) -> None:
    broken = Listen("tcp", "", 0, endpoint=endpoint)
    fixture = Fixture(settings(UDP, TCP, broken))
    with pytest.raises(EnvironmentRefusal, match=f"cannot listen on {endpoint}: .*{why}"):
        fixture.service.privilegedStartService()
    assert fixture.tuns[0].closed


@pytest.mark.parametrize("started", [False, True])
def test_an_endpoint_that_fails_later_is_told(monkeypatch: pytest.MonkeyPatch, *, started: bool) -> None:
    opening: Deferred[Any] = Deferred()
    endpoint = SimpleNamespace(listen=lambda _: opening)
    monkeypatch.setattr(listening, "server_endpoint", lambda *_: endpoint)
    fixture = Fixture(settings(UDP, Listen("tcp", "", 0, endpoint="slow:1")))
    fixture.service.privilegedStartService()
    if started:
        fixture.service.startService()
    opening.errback(OSError("it is broken"))
    if not started:
        fixture.service.startService()
    assert fixture.fatal == ["cannot listen on slow:1: it is broken"]
    fixture.stop()


def test_an_endpoint_that_is_not_open_yet_is_forgotten_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    opening: Deferred[Any] = Deferred()
    monkeypatch.setattr(listening, "server_endpoint", lambda *_: SimpleNamespace(listen=lambda _: opening))
    fixture = Fixture(settings(Listen("tcp", "", 0, endpoint="slow:1"))).start()
    fixture.stop()
    assert opening.called
    assert fixture.fatal == []


def test_own_addresses_are_the_first_ones_unless_the_admin_says_otherwise() -> None:
    server = settings().server
    assert server is not None
    assert [str(address) for address in own_addresses(server)] == ["10.8.0.1", "fd00:8::1"]
    assert own_addresses(replace(server, network=None, network6=None)) == (None, None)


def test_a_stopping_server_waits_for_its_clients_but_not_for_long() -> None:
    vpn = pair("alice", "bob")
    before = vpn.clock.seconds()
    vpn.server.stop()
    assert vpn.clock.seconds() - before < 0.5
    vpn = pair("alice", "bob")
    vpn.network.loss = 1.0
    before = vpn.clock.seconds()
    vpn.server.stop()
    assert FAREWELL <= vpn.clock.seconds() - before < FAREWELL + 0.2


def test_a_chore_that_breaks_is_logged_and_the_server_goes_on() -> None:
    vpn = pair()
    vpn.advance(1)
    factory = vpn.server.factory

    def broken() -> None:
        raise RuntimeError("out of luck")

    factory._contexts.refresh = broken  # type: ignore[method-assign,assignment]
    with capturedLogs() as logged:
        vpn.advance(2 * CRL_INTERVAL)
    assert any("a regular chore broke" in str(event.get("log_format")) for event in logged)
    hello = udp_packet(vpn.client.address, vpn.server.address)
    assert transfer(vpn.client, vpn.server, hello) == [hello]


# Status


def test_the_status_file_is_kept_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "status"
    vpn = pair("alice", server=f"status {path} 10")
    vpn.advance(11)
    text = path.read_text()
    assert text.startswith("OpenVPN CLIENT LIST\nUpdated,")
    assert "alice,198.51.100.1:40001," in text
    assert "10.8.0.2,alice,198.51.100.1:40001," in text
    vpn.clients["alice"].stop()
    vpn.advance(10)
    assert "alice" not in path.read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["status"]


def test_a_status_file_that_cannot_be_written_is_logged(tmp_path: Path) -> None:
    vpn = pair(connect=False)
    server = vpn.server.service
    server.settings = replace(server.settings, status=str(tmp_path / "missing" / "status"), status_interval=5.0)
    vpn.server.start()
    with capturedLogs() as logged:
        vpn.advance(6)
    assert any("cannot write the status file" in str(event.get("log_format")) for event in logged)


def test_the_status_counts_what_was_dropped() -> None:
    vpn = pair()
    vpn.server.inject(Frame(b"\x00" * 20), Frame(udp_packet(vpn.server.address, vpn.client.address)))
    factory = vpn.server.factory
    assert dropped(factory)["malformed"] == 1
    assert "Dropped malformed,1\n" in format_status(factory, vpn.clock.seconds())
    with capturedLogs() as logged:
        vpn.server.service.log_status()
        vpn.client.service.log_status()
    lines = [event.get("line") for event in logged]
    assert "Dropped malformed,1" in lines
    assert "State,CONNECTED" in lines


def test_what_a_link_has_dropped_is_counted_when_its_clients_have_left() -> None:
    vpn = pair()
    factory = vpn.server.factory
    (peer,) = factory.connections
    peer.link.drops["full"] += 3
    assert dropped(factory)["full"] == 3
    vpn.client.stop()
    vpn.advance(10)
    assert not factory.connections
    assert dropped(factory)["full"] == 3


def test_reload_honours_a_changed_crl_at_once() -> None:
    vpn = pair()
    refreshed: list[bool] = []
    vpn.server.factory._contexts.refresh = lambda: bool(refreshed.append(True))  # type: ignore[method-assign,func-returns-value]
    vpn.server.service.reload()
    assert refreshed == [True]


def test_a_crl_that_breaks_is_told_once(tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_text(authority().crl({}, YESTERDAY))
    vpn = pair(server=f"crl-verify {crl}", connect=False)
    vpn.server.start()
    crl.unlink()
    with capturedLogs() as logged:
        vpn.advance(10 * CRL_INTERVAL)
    told = [event for event in logged if "stays in force" in str(event.get("log_format"))]
    assert len(told) == 1
    assert str(crl) in told[0]["problem"]


def test_settings_for_single_clients_are_never_passed_over() -> None:
    with pytest.raises(ValueError, match="make_server_service provides it"):
        Fixture(settings(clients={"stolen": ClientOverrides(is_disabled=True)}))
