"""Who has which address, and what single clients are pushed, in a VPN in memory."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_network
from typing import TYPE_CHECKING

import pytest
from twisted.logger import capturedLogs, formatEvent
from zope.interface import implementer

from tests.routing import peer_at
from twistvpn.client.service import ClientState
from twistvpn.config.settings import DeviceSettings, ServerSettings
from twistvpn.errors import PoolExhausted
from twistvpn.interfaces import IPool, Lease
from twistvpn.overrides import ALIKE, ClientOverrides, Ifconfig, Ifconfig6
from twistvpn.server.addresses import AddressBook
from twistvpn.server.offers import NetworkOffer
from twistvpn.server.status import format_status
from twistvpn.testing import pair, transfer, udp_packet

if TYPE_CHECKING:
    from pathlib import Path

NETMASK = IPv4Address("255.255.255.0")
OWN4, OWN6 = IPv4Address("10.8.0.1"), IPv6Address("fd00::1")


@implementer(IPool)
class Counting:
    """Hands out 10.8.0.2, .3, ... and what came back, the first first."""

    def __init__(self, size: int = 100) -> None:
        self.free = [Lease(IPv4Address(f"10.8.0.{n}"), None) for n in range(2, 2 + size)]

    def lease(self, identity: str) -> Lease:
        if not self.free:
            raise PoolExhausted("nothing left")
        return self.free.pop(0)

    def release(self, lease: Lease) -> None:
        self.free.append(lease)
        self.free.sort()


def own(address: str, address6: str | None = None) -> ClientOverrides:
    six = None if address6 is None else Ifconfig6(IPv6Interface(address6))
    return ClientOverrides(ifconfig=Ifconfig(IPv4Address(address), NETMASK), ifconfig6=six)


def test_an_address_of_ones_own_wins_over_the_pools() -> None:
    book = AddressBook[str](Counting())
    assert book.lease("a", "a", ALIKE).ipv4 == IPv4Address("10.8.0.2")
    wish = own("10.8.0.2", "fd00::7/64")
    assert book.in_the_way(wish) == ["a"]
    assert book.lease("b", "b", wish) == Lease(IPv4Address("10.8.0.2"), IPv6Address("fd00::7"))
    assert book.in_the_way(wish) == []
    book.release("a")
    assert book.lease("c", "c", ALIKE).ipv4 == IPv4Address("10.8.0.3"), "what is in use is passed over"
    with pytest.raises(PoolExhausted, match=r"kept for d, 10\.8\.0\.2, is in use by another client"):
        book.lease("d", "d", wish)
    for holder in ("b", "c", "d", "nobody"):
        book.release(holder)
    assert book.lease("e", "e", ALIKE).ipv4 == IPv4Address("10.8.0.2")


def test_an_ipv6_address_of_ones_own_goes_with_an_ipv4_address_of_the_pool() -> None:
    book = AddressBook[str](Counting())
    wish = ClientOverrides(ifconfig6=Ifconfig6(IPv6Interface("fd00::7/64")))
    assert book.lease("a", "a", wish) == Lease(IPv4Address("10.8.0.2"), IPv6Address("fd00::7"))


def test_without_a_pool_there_is_nothing_but_ones_own() -> None:
    book = AddressBook[str](None)
    assert book.lease("a", "a", ALIKE) == Lease(None, None)
    assert book.lease("b", "b", own("10.8.0.9")).addresses == [IPv4Address("10.8.0.9")]
    book.release("a")
    book.release("b")


def test_what_was_passed_over_goes_back_to_the_pool() -> None:
    pool = Counting(1)
    book = AddressBook[str](pool)
    book.lease("a", "a", own("10.8.0.2"))
    with pytest.raises(PoolExhausted):
        book.lease("b", "b", ALIKE)
    assert len(pool.free) == 1


# What is pushed


def pushed(overrides: ClientOverrides, *push: str, lease: Lease | None = None, **server: object) -> list[str]:
    settings = ServerSettings(
        (),
        IPv4Network("10.8.0.0/24"),
        IPv6Network("fd00::/64"),
        push=push,
        push_ping=10,
        **server,  # type: ignore[arg-type]
    )
    lease = lease or Lease(IPv4Address("10.8.0.6"), IPv6Address("fd00::6"))
    return NetworkOffer(settings, DeviceSettings(), OWN4, OWN6, "tcp").options(lease, overrides, {})


SUBNET = ["route-gateway 10.8.0.1", "topology subnet", "ping 10"]
ADDRESSES = ["ifconfig 10.8.0.6 255.255.255.0", "ifconfig-ipv6 fd00::6/64 fd00::1"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (ALIKE, ["a", "route 10.1.0.0 255.255.0.0", *SUBNET, *ADDRESSES]),
        (ClientOverrides(push=("b",)), ["a", "route 10.1.0.0 255.255.0.0", *SUBNET, "b", *ADDRESSES]),
        (ClientOverrides(is_push_reset=True, push=("b",)), ["b", *ADDRESSES]),
        (ClientOverrides(push_remove=("route",)), ["a", "topology subnet", "ping 10", *ADDRESSES]),
        (
            ClientOverrides(push_remove=("ifconfig", "p")),
            ["a", "route 10.1.0.0 255.255.0.0", *SUBNET[:2], ADDRESSES[1]],
        ),
        (ClientOverrides(push_remove=("ifconfig-ipv6", "a")), ["route 10.1.0.0 255.255.0.0", *SUBNET, ADDRESSES[0]]),
        (ClientOverrides(iroutes=(ip_network("10.1.0.0/16"),)), ["a", *SUBNET, *ADDRESSES]),
    ],
)
def test_what_one_client_is_pushed(overrides: ClientOverrides, expected: list[str]) -> None:
    assert pushed(overrides, "a", "route 10.1.0.0 255.255.0.0") == expected


def test_only_the_very_networks_behind_a_client_are_kept_from_it() -> None:
    overrides = ClientOverrides(iroutes=(ip_network("10.1.0.0/16"), ip_network("10.2.3.4/32"), ip_network("fd01::/64")))
    options = ["route 10.1.0.0 255.255.0.0 vpn_gateway", "route 10.1.0.0 255.255.255.0", "route-ipv6 fd01::/48"]
    own_networks = ["route 10.1.0.0 255.255.0.0", "route 10.2.3.4", "route-ipv6 fd01::/64"]
    assert pushed(overrides, *options, *own_networks)[:3] == options


def test_addresses_of_ones_own_are_pushed_as_they_are() -> None:
    overrides = ClientOverrides(
        ifconfig=Ifconfig(IPv4Address("10.9.0.5"), NETMASK, IPv4Address("192.168.9.5")),
        ifconfig6=Ifconfig6(IPv6Interface("fd09::5/112"), IPv6Address("fd09::1")),
    )
    lease = Lease(IPv4Address("10.9.0.5"), IPv6Address("fd09::5"))
    assert pushed(overrides, lease=lease) == [
        "topology subnet",
        "ping 10",
        "ifconfig 192.168.9.5 255.255.255.0",
        "ifconfig-ipv6 fd09::5/112 fd09::1",
    ]


def test_the_admins_push_takes_the_place_of_the_servers_own() -> None:
    assert pushed(ALIKE, "ping 3", "route-gateway 10.8.0.9") == [
        *("ping 3", "route-gateway 10.8.0.9", "topology subnet"),
        *ADDRESSES,
    ]


@pytest.mark.parametrize(
    ("topology", "c2c", "lease", "expected"),
    [
        ("net30", False, "10.8.0.5", ["topology net30", "ping 10", "route 10.8.0.1", "ifconfig 10.8.0.6 10.8.0.5"]),
        (
            *("net30", True, "10.8.0.5"),
            ["topology net30", "ping 10", "route 10.8.0.0 255.255.255.0", "ifconfig 10.8.0.6 10.8.0.5"],
        ),
        ("p2p", False, None, ["topology p2p", "ping 10", "ifconfig 10.8.0.6 10.8.0.1"]),
        ("p2p", True, None, ["topology p2p", "ping 10", "route 10.8.0.0 255.255.255.0", "ifconfig 10.8.0.6 10.8.0.1"]),
    ],
)
def test_point_to_point(topology: str, c2c: bool, lease: str | None, expected: list[str]) -> None:  # noqa: FBT001  a table
    given = Lease(IPv4Address("10.8.0.6"), None, None if lease is None else IPv4Address(lease))
    assert pushed(ALIKE, lease=given, topology=topology, client_to_client=c2c) == expected


# A whole server


def write(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / name).write_text(text)
    return f"client-config-dir {folder}\n"


def test_networks_behind_clients(tmp_path: Path) -> None:
    options = write(tmp_path, alice="iroute 192.168.7.0 255.255.255.0\niroute 10.0.0.0 255.0.0.0\n")
    vpn = pair("alice", "bob", server=options + "client-to-client\n")
    alice, bob = vpn.clients.values()
    printer = IPv4Address("192.168.7.9")
    hello = udp_packet(vpn.server.address, printer, b"hello")
    assert transfer(vpn.server, alice, hello) == [hello]
    answer = udp_packet(printer, bob.address, b"hello yourself")
    assert transfer(alice, bob, answer) == [answer]
    through = udp_packet(bob.address, printer, b"print")
    assert transfer(bob, alice, through) == [through]
    # Not even who has all of 10/8 behind it can speak in our name, or in that of another client.
    for source in (vpn.server.address, bob.address, IPv4Address("192.168.8.1")):
        assert transfer(alice, vpn.server, udp_packet(source, vpn.server.address, b"forged")) == []
    assert vpn.server.factory.routes.drops["source-address"] == 3
    to_server = udp_packet(bob.address, vpn.server.address, b"to the server itself")
    assert transfer(bob, vpn.server, to_server) == [to_server]
    assert "192.168.7.0/24,alice" in format_status(vpn.server.factory, 0.0)
    alice.stop()
    assert peer_at(vpn.server.factory.routes, printer) is None


@pytest.mark.shows("max-routes-per-client")
def test_routes_beyond_the_bound_are_left_out(tmp_path: Path) -> None:
    options = write(
        tmp_path, alice="max-routes-per-client 3\niroute 10.1.0.0 255.255.0.0\niroute 10.2.0.0 255.255.0.0\n"
    )
    vpn = pair("alice", server=options)
    routes = vpn.server.factory.routes
    assert peer_at(routes, IPv4Address("10.1.0.1")) is not None
    assert peer_at(routes, IPv4Address("10.2.0.1")) is None


@pytest.mark.parametrize("six", ["", "ifconfig-ipv6-push fd00:8::77/64\n"])
def test_who_has_no_ipv6_address_because_of_ifconfig_push_is_named(tmp_path: Path, six: str) -> None:
    ccd = write(tmp_path, alice="ifconfig-push 10.8.0.9 255.255.255.0\n" + six)
    with capturedLogs() as logs:
        vpn = pair("alice", server=ccd + 'push "redirect-gateway def1 ipv6"\n')
    said = [line for line in map(formatEvent, logs) if line and "add ifconfig-ipv6-push" in line]
    assert len(said) == (0 if six else 1)
    assert vpn.client.pushed is not None
    assert (vpn.client.pushed.ipv6 is None) is not bool(six)


def test_keepalive_of_one_client(tmp_path: Path) -> None:
    vpn = pair("alice", "bob", server=write(tmp_path, alice="ping 3\nping-restart 9\n"))
    times = {c.identity: c.peer.timers.keepalive for c in vpn.server.factory.connections.values()}
    assert (times["alice"].ping, times["alice"].ping_restart) == (3.0, 9.0)
    assert (times["bob"].ping, times["bob"].ping_restart) == (10.0, 120.0)


def test_who_has_an_address_that_has_become_anothers_gets_a_new_one(tmp_path: Path) -> None:
    vpn = pair("alice", server=write(tmp_path))
    alice = vpn.client
    assert str(alice.address) == "10.8.0.2"
    write(tmp_path, bob="ifconfig-push 10.8.0.2 255.255.255.0\n")
    bob = vpn.add_client("bob")
    vpn.connect()
    vpn.wait_until(lambda: alice.times_connected == 2 and alice.is_connected, "alice is back")
    assert (str(bob.address), str(alice.address)) == ("10.8.0.2", "10.8.0.3")
    hello = udp_packet(alice.address, vpn.server.address, b"hello")
    assert transfer(alice, vpn.server, hello) == [hello]


def test_a_client_that_is_disabled_goes_at_the_next_renegotiation(tmp_path: Path) -> None:
    vpn = pair("alice", server=write(tmp_path) + "reneg-sec 30\n")
    write(tmp_path, alice="disable\n")
    vpn.wait_until(lambda: vpn.client.fatal, "it is refused", 120)
    assert "this client is disabled" in str(vpn.client.fatal)
    assert vpn.client.service.state is ClientState.STOPPED


def test_a_mistake_in_a_file_refuses_who_comes_and_ends_nobodys_session(tmp_path: Path) -> None:
    vpn = pair("alice", "bob", server=write(tmp_path) + "reneg-sec 30\n")
    alice, bob = vpn.clients.values()
    write(tmp_path, alice="nonsense\n", bob="nonsense\n")
    with capturedLogs() as logs:
        vpn.advance(100)
        assert alice.times_connected == bob.times_connected == 1
        assert alice.is_connected
        bob.stop()
        bob.start()
        vpn.advance(5)
    said = {formatEvent(event) for event in logs}
    assert f"{tmp_path}/bob:1: nonsense: unknown option; remove it" in said
    assert not bob.is_connected
    assert bob.fatal is None, "it may come again"
    write(tmp_path, bob="")
    vpn.wait_until(lambda: bob.is_connected, "bob is back")


def test_without_a_pool_only_those_with_an_address_of_their_own_have_one(tmp_path: Path) -> None:
    options = write(tmp_path, alice="ifconfig-push 10.8.0.9 255.255.255.0\n")
    vpn = pair("alice", "bob", server=options + "server 10.8.0.0 255.255.255.0 nopool\n")
    alice, bob = vpn.clients.values()
    assert str(alice.address) == "10.8.0.9"
    assert bob.pushed is not None
    assert bob.pushed.ipv4 is None


def test_a_client_without_any_address_is_still_let_in(tmp_path: Path) -> None:
    options = write(tmp_path, alice="push-remove ifconfig\npush-remove ifconfig-ipv6\n")
    vpn = pair("alice", server=options)
    assert vpn.client.pushed is not None
    assert (vpn.client.pushed.ipv4, vpn.client.pushed.ipv6) == (None, None)


@pytest.mark.shows("ifconfig-pool-persist")
def test_leases_are_written_while_the_server_runs_and_when_it_stops(tmp_path: Path) -> None:
    leases = tmp_path / "leases"
    options = f"ifconfig-pool-persist {leases} 60\n"
    vpn = pair("alice", server=options)
    vpn.advance(60)
    assert leases.read_text() == "alice,10.8.0.2,fd00:8::1000\n"
    leases.unlink()
    vpn.advance(60)
    assert not leases.exists(), "there is nothing new to write"
    vpn.add_client("bob")
    vpn.connect()
    vpn.server.stop()
    assert leases.read_text() == "alice,10.8.0.2,fd00:8::1000\nbob,10.8.0.3,fd00:8::1001\n"
    again = pair("bob", server=options)
    assert str(again.client.address) == "10.8.0.3"
