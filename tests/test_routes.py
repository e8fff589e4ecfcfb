from __future__ import annotations

import timeit
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inner_packets import udp
from tests.routing import peer_at
from twistvpn.data.routes import RouteTable
from twistvpn.interfaces import Buffer, Frame

pytestmark = pytest.mark.usefixtures("each_kernel")


def packet(source: str, destination: str) -> bytes:
    return udp(source, destination, b"text")


def to(destination: str) -> Frame:
    source = "fd00::99" if ":" in destination else "192.0.2.1"
    return Frame(packet(source, destination))


def table(**routes: str) -> RouteTable[str]:
    made: RouteTable[str] = RouteTable()
    for peer, networks in routes.items():
        for network in networks.split():
            made.add(ip_network(network), peer)
    return made


@pytest.mark.parametrize(
    ("destination", "peer"),
    [
        ("10.8.0.2", "a"),
        ("10.8.0.3", "b"),
        ("10.8.0.4", None),
        ("192.168.5.77", "a"),
        ("192.168.6.1", "b"),
        ("fd00::2", "a"),
        ("fd01:0:0:1::9", "b"),
        ("fd01::9", "a"),
        ("fe00::", None),
    ],
)
def test_the_longest_prefix_wins(destination: str, peer: str | None) -> None:
    routes = table(
        a="10.8.0.2 192.168.5.0/24 fd00::2 fd01::/32",
        b="10.8.0.3 192.168.0.0/16 fd01:0:0:1::/64",
    )
    assert peer_at(routes, destination) == peer
    source = packet(destination, "fd00::7" if ":" in destination else "10.8.0.9")
    assert [each for each in ("a", "b") if routes.check_sources(each, [source])] == ([] if peer is None else [peer])


def test_our_own_address_is_ours_inside_a_peers_network() -> None:
    routes = table(a="10.0.0.0/8")
    routes.add(ip_address("10.8.0.1"), None)
    assert peer_at(routes, "10.8.0.1") is None
    assert peer_at(routes, "10.8.0.2") == "a"


def test_a_route_that_is_taken_back_is_gone() -> None:
    routes = table(a="10.8.0.2 192.168.5.0/24", b="192.168.0.0/16")
    routes.remove(ip_network("192.168.5.0/24"), "a")
    routes.remove(ip_address("10.8.0.2"), "a")
    assert peer_at(routes, "192.168.5.1") == "b"
    assert peer_at(routes, "10.8.0.2") is None


def test_a_peer_takes_back_no_route_that_is_now_anothers() -> None:
    routes = table(a="10.8.0.2")
    routes.add(ip_address("10.8.0.2"), "b")
    routes.remove(ip_address("10.8.0.2"), "a")
    routes.remove(ip_network("10.9.0.0/16"), "a")
    assert peer_at(routes, "10.8.0.2") == "b"


@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.builds(lambda a, n: IPv4Network((a, n), strict=False), st.integers(0, 255), st.integers(24, 32)),
                st.builds(lambda a, n: IPv6Network((a, n), strict=False), st.integers(0, 255), st.integers(120, 128)),
            ),
            st.integers(0, 5),
        ),
        max_size=12,
    ),
    st.integers(0, 255),
    st.sampled_from([4, 6]),
)
def test_it_agrees_with_a_search_through_all_routes(
    routes: list[tuple[IPv4Network | IPv6Network, int]], number: int, version: int
) -> None:
    made: RouteTable[int] = RouteTable()
    for network, peer in routes:
        made.add(network, peer)
    address = ip_address(number) if version == 4 else ip_address(number.to_bytes(16, "big"))
    matching = [(network.prefixlen, index, peer) for index, (network, peer) in enumerate(routes) if address in network]
    assert peer_at(made, address) == (max(matching)[2] if matching else None)


def test_a_batch_is_parted_by_peer_each_ones_in_order() -> None:
    routes = table(a="10.8.0.2 192.168.5.0/24", b="10.8.0.3 fd00::3")
    one, two, three, four = to("10.8.0.2"), to("10.8.0.3"), to("192.168.5.5"), to("fd00::3")
    last = to("10.8.0.2")
    assert routes.split_by_peer([one, two, three, four, last]) == [("a", [one, three, last]), ("b", [two, four])]
    assert not routes.drops


def test_views_are_as_good_as_bytes() -> None:
    routes = table(a="10.8.0.2")
    frames = [Frame(memoryview(to("10.8.0.2").packet)), Frame(bytearray(to("10.8.0.2").packet))]
    assert routes.split_by_peer(frames) == [("a", frames)]


def test_what_has_no_peer_is_counted_by_reason() -> None:
    routes = table(a="10.8.0.2")
    frames = [to("10.9.0.1"), to("10.9.0.1"), to("fd00::1"), to("224.0.0.251"), to("255.255.255.255"), to("ff02::2")]
    broken: list[Buffer] = [b"", b"E" * 19, b"\x60" * 39, b"\x20" * 60]
    assert routes.split_by_peer([*frames, *map(Frame, broken)]) == []
    assert routes.drops == {"no-route": 3, "multicast": 3, "malformed": 4}


def test_a_peer_sends_only_from_its_own_addresses() -> None:
    routes = table(a="10.8.0.2 192.168.5.0/24 fd00::2", b="10.8.0.3")
    own = [packet(source, "10.8.0.1") for source in ("10.8.0.2", "192.168.5.9")] + [packet("fd00::2", "fd00::1")]
    others: list[Buffer] = [
        packet("10.8.0.3", "10.8.0.1"),
        packet("10.77.0.1", "10.8.0.1"),
        packet("fd00::3", "fd00::"),
    ]
    by_itself: list[Buffer] = [packet("fe80::1", "ff02::2"), packet("febf::1", "ff02::2"), packet("::", "ff02::16")]
    assert routes.check_sources("a", [*own, *others, *by_itself, b"", b"\x45"]) == own
    assert routes.drops == {"source-address": 3, "link-local": 3, "malformed": 2}


def test_packets_between_peers_do_not_reach_the_tun() -> None:
    routes = table(a="10.8.0.2", b="10.8.0.3 192.168.5.0/24", default="0.0.0.0/1")
    first, second = packet("10.8.0.2", "10.8.0.3"), packet("10.8.0.2", "192.168.5.9")
    gateway, multicast = packet("10.8.0.2", "203.0.113.1"), packet("10.8.0.2", "224.0.0.1")
    to_peers, for_tun = routes.split_client_to_client([first, gateway, second, multicast])
    assert to_peers == [("b", [Frame(first), Frame(second)])]
    assert for_tun == [gateway, multicast]


@given(st.lists(st.binary(max_size=60)))
def test_any_packets_may_be_looked_up(packets: list[bytes]) -> None:
    routes = table(a="0.0.0.0/0 ::/0")
    allowed = routes.check_sources("a", packets)
    sent = routes.split_by_peer([Frame(one) for one in packets])
    to_peers, for_tun = routes.split_client_to_client(allowed)
    assert sum(len(frames) for _, frames in to_peers) + len(for_tun) == len(allowed)
    counted = sum(routes.drops.values()) + len(allowed) + sum(len(frames) for _, frames in sent)
    assert counted == 2 * len(packets)


def test_the_number_of_routes_does_not_matter() -> None:
    def cost(count: int) -> float:
        routes: RouteTable[int] = RouteTable()
        for number in range(count):
            routes.add(ip_address(0x0A000000 + number), number)
            routes.add(IPv4Network((0xC0000000 + (number << 8), 24)), number)
        batch = [to("192.0.0.9")]
        return min(timeit.repeat(lambda: routes.split_by_peer(batch), number=500, repeat=5))

    assert cost(20_000) < 20 * cost(10)
