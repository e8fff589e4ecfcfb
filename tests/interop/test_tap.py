"""Ethernet through the tunnel: a tap at both ends, bridged or not."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import Namespace, join, run
from tests.interop.peers import GATEWAY6, OURS, STOCK
from tests.interop.releases import stock_since
from tests.interop.transfer import transfer
from tests.interop.tunnel import Tunnel
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Client, Lab, Server

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
BOTH_OURS = [*ROLES, pytest.param(OURS, OURS, id="both-ours")]
TAP = "tap0"
MEGABYTE = 1_000_000
LAN_HOST, LAN_BRIDGE = "192.168.50.9", "192.168.50.1"
POOL = "192.168.50.200 192.168.50.250"
GROUP, GROUP_PORT = "239.7.7.7", 7777


@pytest.fixture
def lan(lab: Lab) -> Iterator[Namespace]:
    """A host on the network of a bridge `br0` in the server's namespace."""
    host = Namespace("lan")
    lab.tunnel = Tunnel(dev=TAP)
    try:
        join((lab.server_host, "lan"), (host, "eth0"), [])
        lab.server_host.ip("link", "add", "br0", "type", "bridge", "forward_delay", "0")
        lab.server_host.ip("link", "set", "lan", "master", "br0")
        lab.server_host.ip("link", "set", "br0", "up")
        lab.server_host.ip("addr", "add", f"{LAN_BRIDGE}/24", "dev", "br0")
        host.ip("addr", "add", f"{LAN_HOST}/24", "dev", "eth0")
        yield host
    finally:
        host.close()


def start_bridged(lab: Lab, kind: str, *options: str) -> Server:
    """A server whose tap the admin makes a port of the bridge."""
    server = lab.server(kind, *options, network=())
    server.start()
    wait_until(lambda: TAP in links(lab.server_host), f"{TAP} is there")
    lab.server_host.ip("link", "set", TAP, "up", "master", "br0")
    return server


def links(host: Namespace) -> dict[str, str]:
    """The Ethernet address of each interface."""
    return {link["ifname"]: link.get("address", "") for link in host.ip_json("link")}


def reached(client: Client, target: str) -> None:
    wait_until(lambda: client.alive() and client.namespace.answers(target, 0.3), f"{client.label} reaches {target}")


@pytest.mark.shows("dev", "dev-type", "server", "server-ipv6", "ifconfig", "ifconfig-ipv6")
@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_both_families_over_a_tap(make_lab: MakeLab, proto: str, server_kind: str, client_kind: str) -> None:
    lab = make_lab(Tunnel(proto, dev=TAP))
    server = lab.server(server_kind)
    server.start()
    client = lab.client(client_kind)
    client.start()
    # A tap has neighbours: stock lets duplicate address detection pass first.
    wait_until(lambda: client.namespace.answers(GATEWAY6), "IPv6 through the tunnel")
    assert lab.server_host.answers(client.address)
    lab.exchange(client, 5 * MEGABYTE)
    lab.exchange(client, MEGABYTE, GATEWAY6, client.address6)
    for peer in (server, client):
        assert not peer.process.lines("WARNING: '(dev-type|tun-mtu)'"), peer.process.log()


@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_frames_inside_compressions_framing_and_fragments(lab: Lab, server_kind: str, client_kind: str) -> None:
    lab.tunnel = Tunnel(dev=TAP)
    # The address begins with the byte that this framing escapes.
    both = ["compress stub-v2", "fragment 1000"]
    lab.server(server_kind, *both, "lladdr 50:00:00:00:00:01", "mssfix 0").start()
    client = lab.client(client_kind, "client", *both, "mssfix 0")
    client.start()
    lab.exchange(client, MEGABYTE)


@pytest.mark.shows("client-to-client", "lladdr")
@pytest.mark.parametrize(("server_kind", "client_kind"), BOTH_OURS)
def test_clients_reach_each_other(lab: Lab, server_kind: str, client_kind: str) -> None:
    lab.tunnel = Tunnel(dev=TAP)
    lab.server(server_kind, "client-to-client").start()
    alice = lab.client(client_kind, "alice", "lladdr 02:00:00:00:0a:0a")
    bob = lab.client(STOCK if client_kind == OURS else OURS, "bob")
    for client in (alice, bob):
        client.start()
    assert links(alice.namespace)[TAP] == "02:00:00:00:0a:0a"
    reached(bob, alice.address)
    neighbours = bob.namespace.ip_json("neigh", "show", "to", alice.address)
    assert [neighbour["lladdr"] for neighbour in neighbours] == ["02:00:00:00:0a:0a"]
    with multicast_member(alice) as inbox:
        # A broadcast and a multicast reach the other client; on the wire both are frames for many.
        with alice.namespace.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind(("", GROUP_PORT + 1))
            say(bob, "10.8.0.255", GROUP_PORT + 1, b"to everybody")
            assert listener.recv(100) == b"to everybody"
        say(bob, GROUP, GROUP_PORT, b"to the group")
        assert inbox.recv(100) == b"to the group"


def multicast_member(client: Client) -> socket.socket:
    inbox = client.namespace.open_socket(socket.AF_INET, socket.SOCK_DGRAM)
    inbox.bind(("", GROUP_PORT))
    membership = socket.inet_aton(GROUP) + socket.inet_aton(client.address)
    inbox.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return inbox


def say(client: Client, target: str, port: int, text: bytes) -> None:
    with client.namespace.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(client.address))
        sender.sendto(text, (target, port))


@pytest.mark.shows("server-bridge", "route-gateway")
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_a_host_behind_the_servers_bridge(lab: Lab, lan: Namespace, server_kind: str, client_kind: str) -> None:
    start_bridged(lab, server_kind, f"server-bridge {LAN_BRIDGE} 255.255.255.0 {POOL}", "push 'route 192.168.77.0'")
    client = lab.client(client_kind)
    client.process.start()
    wait_until(lambda: client.alive() and client.addresses(), "the client has an address")
    assert client.addresses() == ["192.168.50.200"]
    reached(client, LAN_HOST)
    assert lan.answers(client.address)
    neighbours = lan.ip_json("neigh", "show", "to", client.address)
    assert [neighbour["lladdr"] for neighbour in neighbours] == [links(client.namespace)[TAP]]
    routes = client.namespace.ip_json("route", "show", "192.168.77.0")
    assert [route["gateway"] for route in routes] == [LAN_BRIDGE]
    # Nobody there knows of the tunnel: what fills an Ethernet frame must pass too.
    ping = lan.command("ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", "-M", "do", "-s", "1472", client.address)
    assert " 0% packet loss" in run(*ping)
    transfer(lan, client.namespace, client.address, MEGABYTE)
    transfer(client.namespace, lan, LAN_HOST, MEGABYTE)


@pytest.mark.shows("server-bridge")
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_addresses_that_a_dhcp_client_sets(lab: Lab, lan: Namespace, server_kind: str, client_kind: str) -> None:
    start_bridged(lab, server_kind, "server-bridge")
    client = lab.client(client_kind)
    client.process.start()
    wait_until(lambda: client.alive() and TAP in links(client.namespace), "the client has its tap")
    client.namespace.ip("link", "set", TAP, "up")
    client.namespace.ip("addr", "add", "192.168.50.77/24", "dev", TAP)
    reached(client, LAN_HOST)
    assert lan.answers("192.168.50.77")


@pytest.mark.shows("server-bridge", "ifconfig")
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_addresses_that_the_clients_admin_sets(lab: Lab, lan: Namespace, server_kind: str, client_kind: str) -> None:
    # A tap may be there before the server is, and stay.
    lab.server_host.ip("tuntap", "add", TAP, "mode", "tap")
    server = start_bridged(lab, server_kind, "server-bridge nogw")
    client = lab.client(client_kind, "client", "ifconfig 192.168.50.77 255.255.255.0")
    client.process.start()
    reached(client, LAN_HOST)
    assert lan.answers("192.168.50.77")
    server.process.stop()
    assert TAP in links(lab.server_host)


@pytest.mark.shows("route-gateway")
def test_the_gateway_that_a_dhcp_server_names(lab: Lab, lan: Namespace) -> None:
    start_bridged(lab, STOCK, "server-bridge", 'push "route 192.168.77.0 255.255.255.0"')
    client = lab.client(OURS)
    client.process.start()
    client.process.wait_for_line("connected to")
    grant = b"\2\1\6\0" + bytes(232) + b"\x63\x82\x53\x63\x35\1\5\3\4" + socket.inet_aton(LAN_BRIDGE) + b"\xff"
    with frames_on_tap(client.namespace) as tap, lan.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as dhcp_server:
        dhcp_server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        dhcp_server.bind((LAN_HOST, 67))
        dhcp_server.sendto(grant, ("192.168.50.255", 68))
        arrived = next(frame for frame in iter(lambda: tap.recv(2000), b"") if b"\x63\x82\x53\x63" in frame)
    assert socket.inet_aton(LAN_BRIDGE) not in arrived, "the host's DHCP client gets no default route"

    def gateways() -> list[str]:
        return [route["gateway"] for route in client.namespace.ip_json("route", "show", "192.168.77.0/24")]

    wait_until(lambda: gateways() == [LAN_BRIDGE], "the route goes through the DHCP server's router")


def test_vlan_tags_pass_through(lab: Lab) -> None:
    lab.tunnel = Tunnel(dev=TAP)
    lab.server(OURS).start()
    client = lab.client(STOCK)
    client.start()
    ends = (client.namespace, lab.server_host)
    for sender, receiver in (ends, ends[::-1]):
        source, destination = (bytes.fromhex(links(host)[TAP].replace(":", "")) for host in (sender, receiver))
        with frames_on_tap(sender) as out, frames_on_tap(receiver) as inbox:
            inbox.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            # Priority 3, VLAN 10, and a type that nobody else uses.
            out.send(destination + source + b"\x81\x00\x60\x0a" + EXPERIMENTAL + b"tagged".ljust(46))
            assert received(inbox) == (b"tagged".ljust(46), 0x600A)


@pytest.mark.shows("vlan-tagging", "vlan-accept", "vlan-pvid")
@pytest.mark.parametrize(
    ("server_kind", "client_kind"),
    [ROLES[0], pytest.param(STOCK, OURS, id="our-client", marks=stock_since("2.5", "vlan-tagging"))],
)
def test_clients_in_vlans_of_their_own(lab: Lab, server_kind: str, client_kind: str) -> None:
    lab.tunnel = Tunnel(dev=TAP)
    folder = lab.directory / "vlans"
    folder.mkdir()
    lab.server(server_kind, "vlan-tagging", "vlan-accept tagged", f"client-config-dir {folder}").start()
    clients = {}
    for vlan in (10, 20):
        (folder / f"vlan{vlan}").write_text(f"vlan-pvid {vlan}\n")
        clients[vlan] = lab.client(client_kind, f"vlan{vlan}")
        clients[vlan].process.start()
    for client in clients.values():
        wait_until(lambda: client.alive() and client.addresses(), "the client has an address")  # noqa: B023
    ends = [frames_on_tap(client.namespace) for client in clients.values()]
    with ends[0] as first, ends[1] as second, frames_on_tap(lab.server_host) as trunk:
        trunk.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        for number, (vlan, end) in enumerate(zip(clients, (first, second), strict=True)):
            source = bytes((2, 0, 0, 0, 1, number))
            end.send(EVERYBODY + source + EXPERIMENTAL + b"up".ljust(46))
            assert received(trunk) == (b"up".ljust(46), vlan)
        # What each hears first is what came for its VLAN last.
        for vlan, text in ((20, b"for twenty"), (10, b"for ten")):
            tag = b"\x81\x00" + vlan.to_bytes(2, "big")
            trunk.send(EVERYBODY + bytes((2, 0, 0, 0, 1, 9)) + tag + EXPERIMENTAL + text.ljust(46))
        assert [heard(end).rstrip(b"\0 ") for end in (first, second)] == [b"for ten", b"for twenty"]


SOL_PACKET, PACKET_AUXDATA, ETH_P_ALL = 263, 8, 3
EXPERIMENTAL = b"\x88\xb5"
"""The first local experimental EtherType (IEEE 802)."""
EVERYBODY = b"\xff" * 6


def frames_on_tap(host: Namespace) -> socket.socket:
    made = host.open_socket(socket.AF_PACKET, socket.SOCK_RAW)
    made.bind((TAP, ETH_P_ALL))
    return made


def received(inbox: socket.socket) -> tuple[bytes, int]:
    """The payload and the VLAN tag, which the kernel takes out of the frame, of the next experimental frame."""
    while True:
        frame, ancillary, _, _ = inbox.recvmsg(2000, 100)
        if frame[12:14] == EXPERIMENTAL:
            # struct tpacket_auxdata of linux/if_packet.h
            return frame[14:], struct.unpack("=IIIHHHH", ancillary[0][2])[5]


def heard(end: socket.socket) -> bytes:
    """The payload of the next experimental frame that another host has sent."""
    while True:
        frame, (_, _, kind, *_) = end.recvfrom(2000)
        if frame[12:14] == EXPERIMENTAL and kind != socket.PACKET_OUTGOING:
            return frame[14:]
