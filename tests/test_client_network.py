"""What a server pushes, as this host is configured for it, on a host that only writes down what it is told."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network
from typing import cast

import pytest
from twisted.logger import capturedLogs

from tests.certificates import authority
from tests.fake_host import FakeHost
from twistvpn.client.network import ClientNetwork
from twistvpn.config.load import parse
from twistvpn.config.settings import Settings
from twistvpn.control.push import parse_pushed
from twistvpn.errors import EnvironmentRefusal
from twistvpn.tun.netlink import LocalNetwork, NetworkConfigurator
from twistvpn.tun.rtnetlink import NextHop

CREDENTIALS = f"""\
<ca>
{authority().certificate_pem}</ca>
<auth-user-pass>
alice
secret
</auth-user-pass>
"""
SERVER = "203.0.113.1"
SUBNET = ["topology subnet", "ifconfig 10.8.0.2 255.255.255.0", "route-gateway 10.8.0.1"]


def settings(options: str = "") -> Settings:
    return parse(f"client\ndev tun\nremote {SERVER}\n{CREDENTIALS}{options}", "test", "/")


def configure(*pushed: str, options: str = "", host: FakeHost | None = None, server: str = SERVER) -> FakeHost:
    host = host or FakeHost()
    network(host, options).apply(parse_pushed([*SUBNET, *pushed]), server)
    return host


def network(host: FakeHost, options: str = "") -> ClientNetwork:
    return ClientNetwork(settings(options), cast("NetworkConfigurator", host), "tun0")


def test_topology_subnet() -> None:
    host = configure("ifconfig-ipv6 fd00::2/64 fd00::1", "tun-mtu 1400")
    assert host.addresses == ["10.8.0.2/24 dev tun0", "fd00::2/64 dev tun0"]
    assert host.mtu == 1400
    assert host.is_up
    assert host.routes == []


@pytest.mark.parametrize("topology", ["net30", "p2p"])
def test_point_to_point_topologies_have_a_route_to_the_other_end(topology: str) -> None:
    host = FakeHost()
    network(host).apply(parse_pushed(["ifconfig 10.8.0.6 10.8.0.5", f"topology {topology}"]), SERVER)
    assert host.addresses == ["10.8.0.6/32 dev tun0"]
    assert host.routes == ["10.8.0.5/32 dev tun0"]


def test_ipv6_alone_will_do() -> None:
    host = FakeHost()
    network(host).apply(parse_pushed(["ifconfig-ipv6 fd00::2/64 fd00::1"]), SERVER)
    assert host.addresses == ["fd00::2/64 dev tun0"]


def test_no_address_at_all_is_refused() -> None:
    with pytest.raises(EnvironmentRefusal, match="pushes no address"):
        network(FakeHost()).apply(parse_pushed(["ping 10"]), SERVER)


def test_routes_go_through_the_device_whatever_the_gateway_inside() -> None:
    host = configure(
        "route 192.168.7.0 255.255.255.0",
        "route 192.168.8.0 255.255.255.0 10.8.0.9 20",
        "route 192.168.9.0 255.255.255.0 vpn_gateway",
        "route-ipv6 fd01::/48",
    )
    assert host.routes == [
        "192.168.7.0/24 dev tun0",
        "192.168.8.0/24 dev tun0 metric 20",
        "192.168.9.0/24 dev tun0",
        "fd01::/48 dev tun0",
    ]


def test_net_gateway_is_the_way_outside() -> None:
    host = configure("route 198.51.100.0 255.255.255.0 net_gateway", "route-ipv6 2001:db8::/32 net_gateway")
    assert host.routes == ["198.51.100.0/24 via 192.168.0.1 dev eth0", "2001:db8::/32 via fe80::1 dev eth0"]


def test_without_a_default_gateway_net_gateway_leads_nowhere() -> None:
    host = FakeHost()
    host.hops[4] = None
    assert configure("route 198.51.100.0 255.255.255.0 net_gateway", host=host).routes == []


def test_our_own_routes_come_too_and_the_pushed_ones_only_if_they_may() -> None:
    own, pushed = "route 10.1.0.0 255.255.0.0\n", "route 10.2.0.0 255.255.0.0"
    assert configure(pushed, options=own).routes == ["10.1.0.0/16 dev tun0", "10.2.0.0/16 dev tun0"]
    assert configure(pushed, "redirect-gateway", options=own + "route-nopull\n").routes == ["10.1.0.0/16 dev tun0"]


HALVES = ["0.0.0.0/1 dev tun0", "128.0.0.0/1 dev tun0"]
KEPT = f"{SERVER}/32 via 192.168.0.1 dev eth0"


def covers(routes: list[str], version: int) -> bool:
    """Whether all that may be used on the Internet lies in the routes through the tunnel."""
    networks = [ip_network(route.split(" ")[0]) for route in routes if route.endswith("dev tun0")]
    samples = (
        ["1.1.1.1", "192.0.2.1", "255.0.0.1"] if version == 4 else ["2001:db8::1", "2606::1", "3fff::1", "fd00::1"]
    )
    return all(any(ip_address(sample) in each for each in networks if each.version == version) for sample in samples)


@pytest.mark.parametrize(
    ("flags", "kept", "ipv4", "ipv6"),
    [
        ("", True, True, False),
        ("def1", True, True, False),
        ("def1 bypass-dhcp bypass-dns", True, True, False),
        ("def1 local", False, True, False),
        ("def1 ipv6", True, True, True),
        ("ipv6 !ipv4", True, False, True),
    ],
)
def test_redirect_gateway(flags: str, kept: bool, ipv4: bool, ipv6: bool) -> None:  # noqa: FBT001  a table
    host = configure(f"redirect-gateway {flags}")
    assert (KEPT in host.routes) == kept
    assert (HALVES[0] in host.routes and HALVES[1] in host.routes) == ipv4
    assert covers(host.routes, 4) == ipv4
    assert covers(host.routes, 6) == ipv6


def test_redirect_private_keeps_the_server_outside_and_nothing_else() -> None:
    assert configure("redirect-private def1").routes == [KEPT]
    assert configure(options="redirect-private\n").routes == [KEPT]


def test_block_local_leads_the_local_network_into_the_tunnel() -> None:
    host = configure("redirect-gateway block-local")
    assert set(host.routes) == {
        *("192.168.0.1/32 dev eth0", "192.168.0.0/25 dev tun0", "192.168.0.128/25 dev tun0"),
        *(KEPT, *HALVES),
    }
    near = FakeHost()
    near.hops[4] = NextHop(ip_address("192.168.0.1"), "eth0")
    configure("redirect-gateway block-local", host=near, server="192.168.0.7")
    assert "192.168.0.7/32 dev eth0" in near.routes
    near.hops[4] = None
    assert configure("redirect-gateway block-local", host=near).routes == HALVES


def test_a_metric_for_routes_that_have_none() -> None:
    routes = ("route 10.1.0.0 255.255.0.0", "route 10.2.0.0 255.255.0.0 default 7", "route-metric 50")
    assert configure(*routes).routes == ["10.1.0.0/16 dev tun0 metric 50", "10.2.0.0/16 dev tun0 metric 7"]
    own = "route-metric 9\nroute 10.3.0.0 255.255.0.0\n"
    assert configure(*routes[:1], options=own).routes == [
        *("10.3.0.0/16 dev tun0 metric 9", "10.1.0.0/16 dev tun0 metric 9"),
    ]


@pytest.mark.shows("route-noexec", "ifconfig-noexec")
def test_addresses_or_routes_may_be_somebody_elses_affair() -> None:
    options = ("route 10.1.0.0 255.255.0.0", "redirect-gateway")
    host = configure(*options, options="route-noexec\nroute 10.3.0.0 255.255.0.0\n")
    assert (host.addresses, host.routes) == (["10.8.0.2/24 dev tun0"], [])
    host = configure(options[0], options="ifconfig-noexec\n")
    assert (host.addresses, host.routes, host.is_up) == ([], ["10.1.0.0/16 dev tun0"], False)


def test_routes_to_the_ends_of_the_tunnel() -> None:
    own = "route remote_host 255.255.255.255 net_gateway\nroute vpn_gateway default default 5\n"
    assert configure("route net_gateway", options=own).routes == [
        *(KEPT, "10.8.0.1/32 dev tun0 metric 5", "192.168.0.1/32 dev tun0"),
    ]
    host = FakeHost()
    host.hops[4] = None
    assert configure("route net_gateway", host=host).routes == []


def test_a_gateway_on_the_local_network_is_a_way_outside_the_tunnel() -> None:
    host = configure(
        "route 192.168.5.0 255.255.255.0 10.1.2.3", options="route 192.168.6.0 255.255.255.0 192.168.0.9\n"
    )
    assert host.routes == ["192.168.6.0/24 via 192.168.0.9 dev eth0", "192.168.5.0/24 via 10.1.2.3 dev lan"]


def test_a_server_leads_nothing_to_ourselves_and_nothing_twice() -> None:
    host = FakeHost()
    host.networks = [*host.networks, LocalNetwork(IPv4Network("127.0.0.0/8"), "lo")]
    route = "route 192.168.5.0 255.255.255.0"
    host = configure(f"{route} 127.0.0.1", *[f"{route} default 5"] * 1000, host=host)
    assert host.routes == ["192.168.5.0/24 dev tun0", "192.168.5.0/24 dev tun0 metric 5"]


@pytest.mark.parametrize(
    ("pushed", "options", "warns"),
    [
        (["redirect-gateway def1 ipv6"], "", True),
        (["route-ipv6 fd00:1::/64"], "", True),
        (["redirect-gateway def1 ipv6", "ifconfig-ipv6 fd00::2/64 fd00::1"], "", False),
        (["redirect-gateway def1 ipv6"], "block-ipv6\n", False),
        (["redirect-gateway def1"], "", False),
    ],
)
def test_ipv6_that_leads_nowhere_is_warned_of(pushed: list[str], options: str, warns: bool) -> None:  # noqa: FBT001
    with capturedLogs() as logs:
        configure(*pushed, options=options)
    assert any("no IPv6 address" in event["log_format"] for event in logs) is warns


def test_our_own_redirect_gateway_counts_as_a_pushed_one_does() -> None:
    host = configure(options="redirect-gateway def1 ipv6\n")
    assert KEPT in host.routes
    assert covers(host.routes, 4)
    assert covers(host.routes, 6)
    assert covers(configure(options="redirect-gateway def1\nroute-nopull\n").routes, 4)


def test_a_server_on_the_link_needs_no_route() -> None:
    host = FakeHost()
    host.hops[4] = NextHop(None, "eth0")
    assert configure("redirect-gateway def1", host=host).routes == HALVES


def test_an_ipv4_mapped_server_is_an_ipv4_one() -> None:
    assert KEPT in configure("redirect-gateway def1", server=f"::ffff:{SERVER}").routes


def test_a_link_local_server_has_a_scope_that_is_no_part_of_its_address() -> None:
    host = configure("redirect-gateway def1 ipv6", server="fe80::7%eth0")
    assert "fe80::7/128 via fe80::1 dev eth0" in host.routes


def test_the_next_server_is_kept_outside_before_it_is_tried() -> None:
    host = FakeHost()
    subject = network(host)
    subject.prepare("203.0.113.2")
    assert host.routes == [], "nothing is redirected yet"
    subject.apply(parse_pushed([*SUBNET, "redirect-gateway def1"]), SERVER)
    subject.prepare("203.0.113.2")
    assert "203.0.113.2/32 via 192.168.0.1 dev eth0" in host.routes


def test_the_same_options_again_change_nothing() -> None:
    host = FakeHost()
    subject = network(host)
    for session in range(3):
        pushed = parse_pushed([*SUBNET, "route 10.1.0.0 255.255.0.0", f"peer-id {session}", f"auth-token {session}"])
        subject.apply(pushed, SERVER)
    assert host.undone <= 1
    assert len(host.addresses) == len(host.routes) == 1


def test_what_concerns_neither_addresses_nor_routes_leaves_them_alone() -> None:
    host = FakeHost()
    subject = network(host)
    for other in ("dhcp-option DNS 10.8.0.1", "dhcp-option DNS 10.8.0.9", "inactive 600", "ping 7"):
        subject.apply(parse_pushed([*SUBNET, "route 10.1.0.0 255.255.0.0", other]), SERVER)
    assert host.undone <= 1
    assert len(host.addresses) == len(host.routes) == 1


def test_other_options_replace_what_was_there() -> None:
    host = FakeHost()
    subject = network(host)
    subject.apply(parse_pushed([*SUBNET, "route 10.1.0.0 255.255.0.0"]), SERVER)
    subject.apply(parse_pushed(["topology subnet", "ifconfig 10.8.0.9 255.255.255.0"]), SERVER)
    assert host.addresses == ["10.8.0.9/24 dev tun0"]
    assert host.routes == []


def test_undo_takes_everything_back_and_apply_works_again() -> None:
    host = FakeHost()
    subject = network(host)
    pushed = parse_pushed([*SUBNET, "redirect-gateway def1"])
    subject.apply(pushed, SERVER)
    subject.undo()
    assert host.addresses == host.routes == []
    subject.prepare("203.0.113.2")
    assert host.routes == []
    subject.apply(pushed, SERVER)
    assert KEPT in host.routes


def test_a_relay_that_takes_the_datagrams_stays_outside_too() -> None:
    host = FakeHost()
    pushed = parse_pushed([*SUBNET, "redirect-gateway def1"])
    network(host).apply(pushed, SERVER, relay="203.0.113.9")
    assert [route for route in host.routes if route not in HALVES] == [KEPT, KEPT.replace(SERVER, "203.0.113.9")]
    same = FakeHost()
    network(same).apply(pushed, SERVER, relay=SERVER)
    assert same.routes.count(KEPT) == 1


def test_a_network_that_overlaps_is_refused() -> None:
    host = FakeHost()
    host.refuse = {str(IPv4Network("10.8.0.0/24"))}
    with pytest.raises(EnvironmentRefusal, match="overlaps"):
        configure(host=host)


def test_a_route_that_cannot_be_set_is_logged_and_left_out() -> None:
    host = FakeHost()
    host.refuse = {"10.1.0.0/16"}
    with capturedLogs() as logged:
        configure("route 10.1.0.0 255.255.0.0", "route 10.2.0.0 255.255.0.0", host=host)
    assert host.routes == ["10.2.0.0/16 dev tun0"]
    assert any("10.1.0.0/16" in str(event.get("error")) for event in logged)


def test_a_host_with_ipv6_switched_off_goes_on_with_ipv4() -> None:
    host = FakeHost()
    host.refuse.add("fd00::2/64")
    with capturedLogs() as logs:
        configure("ifconfig-ipv6 fd00::2/64 fd00::1", host=host)
    assert host.addresses == ["10.8.0.2/24 dev tun0"]
    assert len(logs) == 1
    with pytest.raises(EnvironmentRefusal, match="fd00::2"):
        network(host).apply(parse_pushed(["ifconfig-ipv6 fd00::2/64 fd00::1"]), SERVER)
