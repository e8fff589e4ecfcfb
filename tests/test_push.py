"""Every pushed option, and what is made of pushes that make no sense."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.config.settings import EndRoute, FragmentLimit
from twistvpn.control.push import _READERS, PushedOptions, PushedRoute, filter_pushed, parse_pushed
from twistvpn.errors import NegotiationError, PushRejected
from twistvpn.wire.compression import Compression

SUBNET = ("topology subnet", "ifconfig 10.8.0.2 255.255.255.0")


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("route-gateway 10.8.0.1", "gateway", IPv4Address("10.8.0.1")),
        ("topology p2p", "topology", "p2p"),
        ("redirect-gateway def1 bypass-dhcp", "redirect_gateway", frozenset({"def1", "bypass-dhcp"})),
        ("redirect-gateway", "redirect_gateway", frozenset()),
        ("ping 10", "ping", 10.0),
        ("ping 0", "ping", 0.0),
        ("ping-restart 60", "ping_restart", 60.0),
        ("ping-exit 60", "ping_exit", 60.0),
        ("peer-id 0", "peer_id", 0),
        ("peer-id 16777215", "peer_id", 0xFFFFFF),
        ("cipher AES-256-GCM", "cipher", "AES-256-GCM"),
        ("key-derivation tls-ekm", "exporter_keys", True),
        ("protocol-flags cc-exit tls-ekm", "exporter_keys", True),
        ("protocol-flags cc-exit", "exporter_keys", False),
        ("protocol-flags cc-exit dyn-tls-crypt", "protocol_flags", frozenset({"cc-exit", "dyn-tls-crypt"})),
        ("tun-mtu 1400", "tun_mtu", 1400),
        ("explicit-exit-notify", "explicit_exit_notify", 1),
        ("explicit-exit-notify 3", "explicit_exit_notify", 3),
        ("dhcp-option DNS 10.8.0.1", "dns", ("dhcp-option DNS 10.8.0.1",)),
        ("dns server 1 address 10.8.0.1", "dns", ("dns server 1 address 10.8.0.1",)),
        ("auth-token SESS_ID_AT_abc", "auth_token", "SESS_ID_AT_abc"),
        ("block-ipv6", "block_ipv6", True),
        ("route-metric 50", "route_metric", 50),
        ("route-ipv6-gateway fd00::9", "gateway6", IPv6Address("fd00::9")),
        ("redirect-private def1", "redirect_gateway", frozenset({"def1", "!ipv4"})),
        ("setenv-safe a b", "unknown", ("setenv-safe a b",)),
        ("block-outside-dns", "unknown", ("block-outside-dns",)),
        ("ifconfig-ipv6 fd00::2/64 fd00::1", "ipv6", IPv6Interface("fd00::2/64")),
        ("ifconfig-ipv6 fd00::2/64 fd00::1", "peer_address6", IPv6Address("fd00::1")),
        ("ifconfig-ipv6 fd00::2/64", "peer_address6", None),
    ],
)
def test_each_option(option: str, field: str, value: object) -> None:
    assert getattr(parse_pushed([option]), field) == value


def test_addresses_in_topology_subnet() -> None:
    for order in (SUBNET, SUBNET[::-1]):
        pushed = parse_pushed([*order, "route-gateway 10.8.0.1"])
        assert pushed.ipv4 == IPv4Interface("10.8.0.2/24")
        assert pushed.peer_address is None
        assert pushed.vpn_gateway == IPv4Address("10.8.0.1")


@pytest.mark.parametrize("topology", [(), ("topology net30",), ("topology p2p",)])
def test_addresses_in_point_to_point_topologies(topology: tuple[str, ...]) -> None:
    pushed = parse_pushed(["ifconfig 10.8.0.6 10.8.0.5", *topology])
    assert pushed.ipv4 == IPv4Interface("10.8.0.6/32")
    assert pushed.peer_address == pushed.vpn_gateway == IPv4Address("10.8.0.5")


@pytest.mark.parametrize(
    ("option", "route"),
    [
        ("route 192.168.1.0 255.255.255.0", PushedRoute(IPv4Network("192.168.1.0/24"))),
        ("route 192.168.1.7 255.255.255.0", PushedRoute(IPv4Network("192.168.1.0/24"))),
        ("route 192.168.1.7", PushedRoute(IPv4Network("192.168.1.7/32"))),
        ("route 192.168.1.7 default default 5", PushedRoute(IPv4Network("192.168.1.7/32"), None, 5)),
        ("route 10.0.0.0 255.0.0.0 vpn_gateway", PushedRoute(IPv4Network("10.0.0.0/8"))),
        ("route 10.0.0.0 255.0.0.0 net_gateway 9", PushedRoute(IPv4Network("10.0.0.0/8"), "net_gateway", 9)),
        ("route 10.0.0.0 255.0.0.0 10.8.0.9", PushedRoute(IPv4Network("10.0.0.0/8"), "10.8.0.9")),
        ("route-ipv6 fd01::/48", PushedRoute(IPv6Network("fd01::/48"))),
        ("route-ipv6 fd01::1/48 fd00::1 7", PushedRoute(IPv6Network("fd01::/48"), "fd00::1", 7)),
        ("route-ipv6 ::/0 default 7", PushedRoute(IPv6Network("::/0"), None, 7)),
    ],
)
def test_routes(option: str, route: PushedRoute) -> None:
    assert parse_pushed([option]).routes == (route,)


def test_what_may_come_more_than_once_is_kept_in_order_and_the_rest_is_the_last_one() -> None:
    pushed = parse_pushed(["route 10.1.0.0", "ping 5", "dhcp-option DNS 1.1.1.1", "x", "route 10.2.0.0", "ping 7", "y"])
    assert [str(route.network) for route in pushed.routes] == ["10.1.0.0/32", "10.2.0.0/32"]
    assert pushed.ping == 7.0
    assert pushed.unknown == ("x", "y")


@pytest.mark.parametrize(
    ("options", "restart", "leave"),
    [
        (["ping-restart 60", "ping-exit 30"], None, 30.0),
        (["ping-exit 30", "ping-restart 60"], 60.0, None),
        (["ping-restart 60", "ping-exit 0"], None, 0.0),
    ],
)
def test_of_ping_restart_and_ping_exit_the_later_one_holds(
    options: list[str], restart: float | None, leave: float | None
) -> None:
    pushed = parse_pushed(options)
    assert (pushed.ping_restart, pushed.ping_exit) == (restart, leave)


@pytest.mark.parametrize("options", [["ifconfig 10.8.0.0 255.255.255.254", SUBNET[0]], ["ifconfig 10.8.0.6 10.8.0.5"]])
def test_addresses_of_links_between_two_are_hosts_all_of_them(options: list[str]) -> None:
    assert parse_pushed(options).ipv4 is not None


def test_the_other_end_is_a_host_too() -> None:
    with pytest.raises(NegotiationError, match=r"the address 224\.0\.0\.1, which no host has"):
        parse_pushed(["ifconfig 10.8.0.6 224.0.0.1"])


def test_flags_of_redirects_come_together() -> None:
    pushed = parse_pushed(["redirect-gateway def1", "redirect-gateway ipv6"])
    assert pushed.redirect_gateway == frozenset({"def1", "ipv6"})


def test_a_topology_of_our_own_holds_until_another_is_pushed() -> None:
    ifconfig = "ifconfig 10.8.0.2 255.255.255.0"
    assert parse_pushed([ifconfig], topology="subnet").ipv4 == IPv4Interface("10.8.0.2/24")
    pushed = parse_pushed(["ifconfig 10.8.0.6 10.8.0.5", "topology net30"], topology="subnet")
    assert pushed.peer_address == IPv4Address("10.8.0.5")


@pytest.mark.shows("pull-filter")
def test_filters() -> None:
    filters = [("accept", "route 10.1"), ("ignore", "route"), ("reject", "dhcp-option DNS"), ("reject", "route 10.2")]
    options = ["route 10.1.0.0", "  route 10.2.0.0", "ping 5", "route-gateway 10.8.0.1", "dhcp-option DOMAIN a"]
    assert filter_pushed(options, filters) == ["route 10.1.0.0", "ping 5", "dhcp-option DOMAIN a"]
    assert filter_pushed(options, []) == options
    with pytest.raises(PushRejected, match=r"'dhcp-option DNS 1\.1\.1\.1', which pull-filter rejects"):
        filter_pushed(["dhcp-option DNS 1.1.1.1"], filters)
    assert filter_pushed(["anything"], [("ignore", "")]) == []


@pytest.mark.parametrize(
    "option", ['"route" 10.2.0.0', "'route'  10.2.0.0", 'route "10.2.0.0"', "route\t10.2.0.0", " route 10.2"]
)
def test_no_spelling_hides_an_option_from_a_filter(option: str) -> None:
    assert filter_pushed([option], [("ignore", "route 10.2")]) == []
    assert filter_pushed([option], [("accept", "route 10.1"), ("ignore", "route")]) == []


def test_a_token_that_is_rejected_does_not_show() -> None:
    for option in ("auth-token SECRET", ' "auth-token" SECRET'):
        with pytest.raises(PushRejected, match=r"^the server pushes 'auth-token', which"):
            filter_pushed([option], [("reject", "auth-token")])


def test_routes_to_what_is_known_later_and_to_names() -> None:
    pushed = parse_pushed(
        ["route remote_host 255.255.255.255 net_gateway 3", "route vpn.example.org", "route net_gateway"]
    )
    assert pushed.end_routes == (EndRoute("remote_host", "net_gateway", 3), EndRoute("net_gateway"))
    assert pushed.unknown == ("route vpn.example.org",)
    assert pushed.routes == ()


def test_nothing_pushed_is_nothing() -> None:
    assert parse_pushed([]) == PushedOptions()
    assert parse_pushed([" ", '""']).unknown == (" ", '""')


@pytest.mark.parametrize(
    "option",
    [
        "ifconfig 10.8.0.2",
        "ifconfig 10.8.0.2 nonsense",
        "ifconfig-ipv6",
        "ifconfig-ipv6 10.8.0.2",
        "route",
        "route nonsense",
        "route 10.0.0.0 255.0.255.0",
        "route 10.0.0.0 255.0.0.0 somewhere",
        "route 10.0.0.0 255.0.0.0 default many",
        "route 10.0.0.0 255.0.0.0 default -1",
        "route 10.0.0.0 255.0.0.0 default 4294967296",
        "ping 2147483648",
        "route-ipv6 10.0.0.0/8",
        "route-gateway by dhcp",
        "topology ring",
        "ping",
        "ping often",
        "ping -1",
        "ping-restart 1.5",
        "peer-id -1",
        "peer-id 16777216",
        "cipher",
        "key-derivation magic",
        "tun-mtu 67",
        "tun-mtu 65536",
        "explicit-exit-notify maybe",
        "compress snappy",
        "comp-lzo maybe",
        "fragment",
        "fragment 67",
        "fragment 1300 bytes",
        'dhcp-option "DNS',
        "ping 1\\0",
    ],
)
def test_an_option_that_does_not_parse_is_named(option: str) -> None:
    with pytest.raises(NegotiationError) as raised:
        parse_pushed(["ping 10", option])
    assert repr(option) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_netmask_that_is_none_is_refused() -> None:
    with pytest.raises(NegotiationError, match="netmask"):
        parse_pushed(["topology subnet", "ifconfig 10.8.0.2 10.8.0.1"])


@pytest.mark.parametrize(
    ("option", "compression"),
    [
        ("comp-lzo no", Compression.STUB),
        ("comp-lzo", Compression.LZO),
        ("compress", Compression.STUB_SWAP),
        ("compress stub-v2", Compression.STUB_V2),
        ("compress lz4", Compression.LZ4),
        ("compress migrate", Compression.NONE),
    ],
)
def test_the_last_framing_that_is_pushed_holds(option: str, compression: Compression) -> None:
    assert parse_pushed([option]).compression is compression
    assert parse_pushed(["compress lz4-v2", option]).compression is compression


def test_fragments_may_be_pushed() -> None:
    assert parse_pushed([]).fragment is None
    assert parse_pushed(["fragment 1300"]).fragment == FragmentLimit(1300)
    assert parse_pushed(["fragment 1300 mtu"]).fragment == FragmentLimit(1300, "mtu")


@pytest.mark.parametrize("option", [' auth-token "SECRET', '"auth-token" "SECRET'])
def test_a_token_that_is_oddly_written_does_not_show(option: str) -> None:
    with pytest.raises(NegotiationError, match=r"^the server pushed 'auth-token', which does not parse$"):
        parse_pushed([option])


def test_a_token_does_not_show() -> None:
    assert "secret" not in repr(parse_pushed(["auth-token secret"]))
    for broken in ("auth-token", 'auth-token "secret'):
        with pytest.raises(NegotiationError, match="'auth-token', which does not parse") as raised:
            parse_pushed([broken])
        assert "secret" not in str(raised.value)


WORDS = st.one_of(
    st.text(max_size=12), st.sampled_from(["default", "10.0.0.1", "255.255.0.0", "fd00::1/64", "7", "-1"])
)
OPTIONS = st.one_of(
    st.text(max_size=60),
    st.builds(
        lambda name, words: " ".join([name, *words]), st.sampled_from(sorted(_READERS)), st.lists(WORDS, max_size=5)
    ),
)


@given(st.lists(OPTIONS, max_size=6))
def test_any_text_is_options_or_a_refusal(options: list[str]) -> None:
    try:
        pushed = parse_pushed(options)
    except NegotiationError:
        return
    assert isinstance(pushed, PushedOptions)
