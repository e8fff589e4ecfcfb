"""A tap in the place of the tun: what is configured, pushed and told, and frames through a whole VPN in memory."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING, Literal, cast

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.certificates import authority
from tests.config_files import SERVER_INI, SERVER_OVPN, make_files
from tests.fake_host import FakeHost
from tests.inner_packets import SYN, tcp
from tests.recorders import RunRecorder
from twistvpn.client.network import ClientNetwork
from twistvpn.config.load import parse
from twistvpn.config.settings import BridgeSettings, VlanSettings
from twistvpn.consistency import device_difference, option_differences
from twistvpn.control.push import parse_pushed
from twistvpn.data.bridge import MacTable
from twistvpn.errors import ConfigError
from twistvpn.interfaces import DeviceType, IPool, Lease
from twistvpn.memory import MemoryNetwork
from twistvpn.overrides import ALIKE
from twistvpn.server.factory import ClientProtocol, VpnFactory
from twistvpn.server.offers import NetworkOffer
from twistvpn.server.pool import pool_range
from twistvpn.server.service import own_addresses
from twistvpn.server.status import format_status
from twistvpn.testing import pair
from twistvpn.wire.options import occ_string
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.config_files import ConfigFiles
    from twistvpn.config.settings import ServerSettings, Settings
    from twistvpn.interfaces import Buffer
    from twistvpn.testing import Pair
    from twistvpn.tun.netlink import NetworkConfigurator

EVERYBODY = b"\xff" * 6
ROUTER = b"\x02\0\0\0\0\x63"
ALICE, BOB = b"\x02\0\0\0\0\x0a", b"\x02\0\0\0\0\x0b"
BRIDGED = "server-bridge 192.168.1.1 255.255.255.0 192.168.1.200 192.168.1.250"


def frame(destination: bytes, source: bytes, text: bytes = b"text", kind: bytes = b"\x88\xb5") -> bytes:
    return destination + source + kind + text


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ConfigFiles:
    return make_files(tmp_path_factory.mktemp("config"))


# Configuration


@pytest.mark.parametrize(
    ("lines", "dev", "kind"),
    [
        ("dev tap", "tap", DeviceType.TAP),
        ("dev tap7", "tap7", DeviceType.TAP),
        ("dev lan\ndev-type tap", "lan", DeviceType.TAP),
        ("dev tap0\ndev-type tun", "tap0", DeviceType.TUN),
        ("dev tun", "tun", DeviceType.TUN),
    ],
)
def test_the_kind_of_the_device(files: ConfigFiles, lines: str, dev: str, kind: DeviceType) -> None:
    device = files.parse(SERVER_OVPN + lines + "\n").device
    assert (device.dev, device.dev_type) == (dev, kind)


def test_the_same_in_ini(files: ConfigFiles) -> None:
    section = "[device]\ndev = lan\ndev-type = tap\nlladdr = 02:00:5E:00:00:01\n[tls]"
    device = files.parse(SERVER_INI.replace("[tls]", section), "server.ini").device
    assert (device.dev, device.dev_type, device.lladdr) == ("lan", DeviceType.TAP, "02:00:5e:00:00:01")


def bridge(files: ConfigFiles, line: str) -> ServerSettings:
    read = files.parse(SERVER_OVPN.replace("dev tun", "dev tap").replace("server 10.8.0.0 255.255.255.0", line))
    assert read.role is Role.SERVER
    assert read.server is not None
    return read.server


_POOL = (IPv4Address("192.168.1.200"), IPv4Address("192.168.1.250"))


@pytest.mark.parametrize(
    ("line", "ini", "expected"),
    [
        (BRIDGED, BRIDGED[14:], BridgeSettings("192.168.1.1", _POOL, IPv4Address("255.255.255.0"))),
        ("server-bridge", "dhcp", BridgeSettings("dhcp")),
        ("server-bridge nogw", "nogw", BridgeSettings()),
    ],
)
def test_a_bridge(files: ConfigFiles, line: str, ini: str, expected: BridgeSettings) -> None:
    server = bridge(files, line)
    assert server.bridge == expected
    assert server.network is None
    assert own_addresses(server) == (None, None)
    text = SERVER_INI.replace("network = 10.8.0.0/24", f"server-bridge = {ini}")
    read = files.parse(text.replace("[tls]", "[device]\ndev = tap\n[tls]"), "server.ini").server
    assert read is not None
    assert read.bridge == expected


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("server-bridge dhcp nogw", "is written GATEWAY NETMASK FIRST LAST, nogw, or dhcp"),
        ("server-bridge 192.168.1.1 255.255.255.0 192.168.1.9", "is written GATEWAY"),
        ("server-bridge 192.168.1.1 255.0.255.0 192.168.1.2 192.168.1.9", "is not a network"),
        ("server-bridge 192.168.1.1 255.255.255.0 192.168.2.2 192.168.2.9", "192.168.2.2 is not the address of a host"),
        ("server-bridge 192.168.1.1 255.255.255.0 192.168.1.9 192.168.1.2", "the pool ends (192.168.1.2) before"),
        ("server-bridge 192.168.1.1 255.255.255.0 192.168.1.1 192.168.1.1", "no address but the gateway's"),
        ("server-bridge\nserver 10.8.0.0 255.255.255.0", "contradicts server-bridge"),
        ("server-bridge\ndev tun", "only a tap can be a port of a bridge"),
    ],
)
def test_a_bridge_that_cannot_be(files: ConfigFiles, line: str, answer: str) -> None:
    text = SERVER_OVPN.replace("dev tun", "dev tap").replace("server 10.8.0.0 255.255.255.0", line)
    assert answer in files.line(text)


TAP_SERVER = SERVER_OVPN.replace("dev tun", "dev tap")


def test_vlans_and_aging(files: ConfigFiles) -> None:
    read = files.parse(TAP_SERVER + "vlan-tagging\nvlan-accept tagged\nvlan-pvid 7\nstale-routes-check 60 5\n").server
    assert read is not None
    assert (read.vlan, read.address_aging) == (VlanSettings("tagged", 7), 60.0)
    section = "vlan-tagging = yes\nvlan-pvid = 8\nstale-routes-check = 90\n[device]\ndev = tap\n[tls]"
    text = SERVER_INI.replace("[tls]", section) + "[client alice]\nvlan-pvid = 9\n"
    read = files.parse(text, "server.ini").server
    assert read is not None
    assert (read.vlan, read.address_aging) == (VlanSettings("all", 8), 90.0)
    assert read.clients["alice"].vlan_pvid == 9
    read = files.parse(TAP_SERVER).server
    assert read is not None
    assert read.vlan is None


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ("vlan-accept tagged", "vlan-accept: needs vlan-tagging beside it"),
        ("vlan-tagging\nvlan-accept some", "vlan-accept: 'some' is not one of all, tagged, untagged"),
        ("vlan-tagging\nvlan-pvid 4095", "vlan-pvid: '4095' is not a whole number from 1 to 4094"),
        ("stale-routes-check soon", "stale-routes-check: 'soon' is not a whole number of at least 1"),
    ],
)
def test_vlans_that_cannot_be(files: ConfigFiles, lines: str, answer: str) -> None:
    assert answer in files.line(TAP_SERVER + lines + "\n")


def test_one_clients_vlan_needs_vlans(files: ConfigFiles) -> None:
    text = SERVER_INI.replace("[tls]", "[device]\ndev = tap\n[tls]") + "[client alice]\nvlan-pvid = 9\n"
    assert "vlan-pvid: needs vlan-tagging in the server's configuration" in files.line(text, "server.ini")


def test_a_bridge_written_out(files: ConfigFiles) -> None:
    written = "mode server\ntls-server\nifconfig-pool 192.168.1.200 192.168.1.250 255.255.255.0"
    read = bridge(files, written)
    assert own_addresses(read) == (None, None)
    assert told(files, written, Lease(_POOL[0], None)) == ["ifconfig 192.168.1.200 255.255.255.0"]
    assert bridge(files, "mode server\ntls-server").pool is None


# What clients are told


def told(files: ConfigFiles, line: str, lease: Lease) -> list[str]:
    server = bridge(files, line)
    device = files.parse(SERVER_OVPN.replace("dev tun", "dev tap")).device
    return NetworkOffer(server, device, *own_addresses(server), "tcp").options(lease, ALIKE, {})


def test_clients_of_a_tap_are_told_address_and_netmask_but_no_topology(files: ConfigFiles) -> None:
    lease = Lease(IPv4Address("10.8.0.2"), None)
    assert told(files, "server 10.8.0.0 255.255.255.0", lease) == [
        "route-gateway 10.8.0.1",
        "ifconfig 10.8.0.2 255.255.255.0",
    ]


def test_clients_of_a_bridge_are_told_the_bridged_networks_gateway(files: ConfigFiles) -> None:
    server = bridge(files, BRIDGED)
    places = pool_range(server)
    assert places is not None
    lease = places.at(0)
    assert lease == Lease(_POOL[0], None)
    assert told(files, BRIDGED, lease) == ["route-gateway 192.168.1.1", "ifconfig 192.168.1.200 255.255.255.0"]


@pytest.mark.parametrize(("line", "options"), [("server-bridge", ["route-gateway dhcp"]), ("server-bridge nogw", [])])
def test_clients_of_a_bridge_without_a_pool_get_no_address(files: ConfigFiles, line: str, options: list[str]) -> None:
    assert pool_range(bridge(files, line)) is None
    assert told(files, line, Lease(None, None)) == options


@pytest.mark.parametrize(
    ("transport", "cipher", "mtu", "expected"),
    [
        ("udp", None, 1500, "link-mtu 1573,tun-mtu 1532,proto UDPv4,auth SHA1,keysize 128"),
        ("tcp", None, 1400, "link-mtu 1475,tun-mtu 1432,proto TCPv4_CLIENT,auth SHA1,keysize 128"),
        (
            "udp",
            "AES-256-GCM",
            1500,
            "link-mtu 1581,tun-mtu 1532,proto UDPv4,cipher AES-256-GCM,auth [null-digest],keysize 256",
        ),
    ],
)
def test_occ_strings_of_a_tap(transport: Literal["udp", "tcp"], cipher: str | None, mtu: int, expected: str) -> None:
    occ = occ_string(Role.CLIENT, transport, cipher=cipher, dev_type=DeviceType.TAP, tun_mtu=mtu)
    assert occ == f"V4,dev-type tap,{expected},key-method 2,tls-client"


@pytest.mark.parametrize("mtu", [1500, 1532])
def test_peers_may_count_the_ethernet_header_or_not(mtu: int) -> None:
    settings = client_settings()
    link = MemoryNetwork(Clock()).link(RunRecorder(), ("192.0.2.1", 1))
    theirs = occ_string(Role.SERVER, "udp", dev_type=DeviceType.TAP, tun_mtu=mtu - 32)
    assert option_differences(settings, link, theirs) == []
    assert device_difference(settings, theirs) is None


def test_a_device_of_the_other_kind_is_warned_about() -> None:
    with capturedLogs() as events:
        pair(client="dev tap")
    warned = [
        str(event["difference"]) for event in events if event["log_level"].name == "warn" and "difference" in event
    ]
    assert warned == [
        "dev-type is tap there and tun here: what one end sends is no packet to the other",
        "dev-type is tun there and tap here: what one end sends is no packet to the other",
    ]


# What a client makes of it


def client_settings(options: str = "") -> Settings:
    text = f"client\ndev tap\nremote 203.0.113.1\n<ca>\n{authority().certificate_pem}</ca>\n"
    return parse(f"{text}<auth-user-pass>\nalice\nsecret\n</auth-user-pass>\n{options}", "test", "/")


class Applied:
    """A client's network, on a host that only writes down what it is told, for what was pushed and is our own."""

    def __init__(self, pushed: Sequence[str], options: str = "") -> None:
        settings = client_settings(options)
        assert settings.client is not None
        self.host = FakeHost()
        self.network = ClientNetwork(settings, cast("NetworkConfigurator", self.host), "tap0")
        self.pushed = parse_pushed([*settings.client.own_options, *pushed], DeviceType.TAP)
        self.network.apply(self.pushed, "203.0.113.1")


def configure(*pushed: str, options: str = "") -> FakeHost:
    return Applied(pushed, options).host


@pytest.mark.parametrize("topology", ["", "topology net30", "topology p2p", "topology subnet"])
def test_on_a_tap_every_ifconfig_has_a_netmask(topology: str) -> None:
    pushed = parse_pushed([topology, "ifconfig 10.8.0.2 255.255.255.0"], DeviceType.TAP)
    assert pushed.ipv4 == IPv4Interface("10.8.0.2/24")
    assert pushed.peer_address is None


def test_routes_into_a_tap_need_a_neighbour() -> None:
    host = configure(
        "ifconfig 10.8.0.2 255.255.255.0",
        "ifconfig-ipv6 fd08::2/64 fd08::1",
        "route-gateway 10.8.0.1",
        "route 192.168.7.0 255.255.255.0",
        "route 192.168.8.0 255.255.255.0 10.8.0.9 20",
        "route-ipv6 fd77::/64",
        "route 198.51.100.0 255.255.255.0 net_gateway",
        options="lladdr 02:00:00:00:00:01\n",
    )
    assert host.addresses == ["10.8.0.2/24 dev tap0", "fd08::2/64 dev tap0"]
    assert host.lladdr == "02:00:00:00:00:01"
    assert host.routes == [
        "192.168.7.0/24 via 10.8.0.1 dev tap0",
        "192.168.8.0/24 via 10.8.0.9 dev tap0 metric 20",
        "fd77::/64 via fd08::1 dev tap0",
        "198.51.100.0/24 via 192.168.0.1 dev eth0",
    ]


def test_redirected_traffic_goes_through_the_neighbour() -> None:
    host = configure("ifconfig 10.8.0.2 255.255.255.0", "route-gateway 10.8.0.1", "redirect-gateway def1")
    assert "0.0.0.0/1 via 10.8.0.1 dev tap0" in host.routes
    assert "128.0.0.0/1 via 10.8.0.1 dev tap0" in host.routes


def test_without_an_address_the_tap_is_left_to_a_dhcp_client() -> None:
    with capturedLogs() as events:
        host = configure("route 192.168.7.0 255.255.255.0")
    assert host.is_up
    assert host.addresses == host.routes == []
    assert any("no gateway inside the tunnel is known" in event["log_format"] for event in events)


@pytest.mark.parametrize("own", ["", "route-gateway dhcp\n"])
def test_routes_wait_for_the_router_that_a_dhcp_server_names(own: str) -> None:
    routes = ["route 192.168.7.0 255.255.255.0 default 5", "route 192.168.8.0 255.255.255.0 10.8.0.9"]
    applied = Applied(routes if own else [*routes, "route-gateway dhcp"], own)
    assert applied.network.awaits_router(applied.pushed)
    assert applied.host.routes == ["192.168.8.0/24 via 10.8.0.9 dev tap0"]
    for _ in range(2):
        applied.network.router_found(IPv4Address("10.8.0.1"))
        assert applied.host.routes[1:] == ["10.8.0.1/32 dev tap0", "192.168.7.0/24 via 10.8.0.1 dev tap0 metric 5"]


def test_a_pushed_gateway_is_not_waited_for() -> None:
    applied = Applied(["ifconfig 10.8.0.2 255.255.255.0", "route-gateway 10.8.0.1"], "route-gateway dhcp\n")
    assert not applied.network.awaits_router(applied.pushed)


def test_addresses_of_our_own_serve_where_none_are_pushed() -> None:
    own = "ifconfig 10.8.0.77 255.255.255.0\nifconfig-ipv6 fd08::77/64 fd08::1\n"
    assert configure(options=own).addresses == ["10.8.0.77/24 dev tap0", "fd08::77/64 dev tap0"]
    pushed = configure("ifconfig 10.8.0.2 255.255.255.0", options=own)
    assert pushed.addresses == ["10.8.0.2/24 dev tap0", "fd08::77/64 dev tap0"]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("ifconfig 10.8.0.77 half", "ifconfig: 'half' is not an IPv4 address"),
        ("ifconfig-ipv6 fd08::77 fd08::1", "ifconfig-ipv6: "),
        ("ifconfig-ipv6 fd08::77/64 10.8.0.1", "ifconfig-ipv6: '10.8.0.1' is not an IPv6 address"),
        ("route-gateway soon", "route-gateway: 'soon' is not an IPv4 address"),
    ],
)
def test_addresses_of_our_own_that_are_none(line: str, answer: str) -> None:
    with pytest.raises(ConfigError) as raised:
        client_settings(line + "\n")
    assert answer in str(raised.value)


def test_a_gateway_of_our_own_serves_where_none_is_pushed() -> None:
    routes = ["ifconfig 10.8.0.2 255.255.255.0", "route 192.168.7.0 255.255.255.0"]
    assert configure(*routes, options="route-gateway 10.8.0.5\n").routes == ["192.168.7.0/24 via 10.8.0.5 dev tap0"]
    pushed = configure(*routes, "route-gateway 10.8.0.1", options="route-gateway 10.8.0.5\n")
    assert pushed.routes == ["192.168.7.0/24 via 10.8.0.1 dev tap0"]


# Frames


class Recorder(ClientProtocol):
    """Keeps what its client sends, and hands it on."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def packets_received(self, packets: list[Buffer]) -> None:
        self.packets += map(bytes, packets)
        super().packets_received(packets)


class RecordingFactory(VpnFactory):
    protocol = Recorder


@implementer(IPool)
class LeavesAddressesToDhcp:
    def lease(self, identity: str) -> Lease:
        return Lease(None, None)

    def release(self, lease: Lease) -> None:
        """Nothing was given."""


class TapTests(SynchronousTestCase):
    """A server and two clients in memory, all with a tap."""

    def start(self, server: str = "", client: str = "") -> Pair:
        self.vpn = pair(
            "alice",
            "bob",
            server=f"dev tap\n{server}",
            client=f"dev tap\n{client}",
            factory_class=RecordingFactory,
        )
        return self.vpn

    def sent(self, name: str, *frames: bytes) -> None:
        self.vpn.clients[name].inject(*frames)
        self.vpn.advance(1)

    def arrived(self) -> dict[str, list[bytes]]:
        """What has arrived at each end since the last time."""
        ends = {"server": self.vpn.server.tun, **{name: end.tun for name, end in self.vpn.clients.items()}}
        return {name: texts for name, tun in ends.items() if (texts := [bytes(one) for one in tun.take()])}

    def test_a_client_without_an_address_is_said_to_have_none(self) -> None:
        with capturedLogs() as logs:
            pair(server="dev tap\n", client="dev tap\n", pool=LeavesAddressesToDhcp())
        assert any("without an address of ours; data" in (formatEvent(event) or "") for event in logs)

    def test_frames_find_their_way(self) -> None:
        vpn = self.start()
        hello = frame(EVERYBODY, ALICE)
        self.sent("alice", hello)
        assert self.arrived() == {"server": [hello]}
        vpn.server.inject(frame(ALICE, ROUTER), frame(EVERYBODY, ROUTER))
        vpn.advance(1)
        assert self.arrived() == {
            "alice": [frame(ALICE, ROUTER), frame(EVERYBODY, ROUTER)],
            "bob": [frame(EVERYBODY, ROUTER)],
        }
        recorders = {one.transport.getPeer().identity: one for one in vpn.server.factory.clients}
        recorder = recorders["alice"]
        assert isinstance(recorder, Recorder)
        assert recorder.packets == [hello]
        recorder.transport.write(frame(ALICE, BOB))
        vpn.advance(1)
        assert self.arrived() == {"alice": [frame(ALICE, BOB)]}
        status = format_status(vpn.server.factory, vpn.clock.seconds()).splitlines()
        assert [line.split(",")[:2] for line in status if "@" in line] == [["02:00:00:00:00:0a@0", "alice"]]

    def test_clients_reach_each_other_where_they_may(self) -> None:
        self.start("client-to-client")
        hello, answer = frame(EVERYBODY, ALICE), frame(ALICE, BOB)
        self.sent("alice", hello)
        assert self.arrived() == {"server": [hello], "bob": [hello]}
        self.sent("bob", answer)
        assert self.arrived() == {"alice": [answer]}

    def test_a_client_that_claims_the_servers_address_is_dropped(self) -> None:
        vpn = self.start()
        table = vpn.server.factory.routes
        assert isinstance(table, MacTable)
        table.own = {ROUTER}
        self.sent("alice", frame(EVERYBODY, ROUTER), frame(EVERYBODY, EVERYBODY), frame(EVERYBODY, ALICE))
        assert self.arrived() == {"server": [frame(EVERYBODY, ALICE)]}
        assert table.drops == {"source-address": 2}

    def test_who_leaves_is_flooded_to_no_more(self) -> None:
        vpn = self.start()
        vpn.clients["alice"].stop()
        vpn.server.inject(frame(EVERYBODY, ROUTER))
        vpn.advance(1)
        assert self.arrived() == {"bob": [frame(EVERYBODY, ROUTER)]}

    def test_frames_that_look_like_ip_or_pings_are_frames(self) -> None:
        self.start()
        ping = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
        odd = [b"\x46" * 60, b"\x66" * 14, ping[:6] + ALICE + b"\x08\x00" + bytes(46)]
        self.sent("alice", *odd)
        arrived = self.arrived()["server"]
        assert arrived == [odd[0], odd[1], odd[2]]

    def test_handshakes_are_clamped_inside_their_frames(self) -> None:
        self.start("mssfix 1300", "mssfix 0")
        mss = b"\x02\x04\x05\xb4"
        handshake = frame(EVERYBODY, ALICE, tcp(flags=SYN, options=mss), b"\x08\x00")
        self.sent("alice", handshake)
        self.vpn.server.inject(frame(ALICE, ROUTER, tcp(flags=SYN, options=mss), b"\x81\x00\0\x0a\x08\x00"))
        self.vpn.advance(1)
        # The datagram with its header and tag, the frame's header, and the headers of IPv4 and TCP.
        option = b"\x02\x04" + (1300 - 28 - 14 - 40).to_bytes(2, "big")
        arrived = self.arrived()
        assert arrived["server"] == [frame(EVERYBODY, ALICE, tcp(flags=SYN, options=option), b"\x08\x00")]
        tagged = frame(ALICE, ROUTER, tcp(flags=SYN, options=option), b"\x81\x00\0\x0a\x08\x00")
        assert arrived["alice"] == [tagged]
