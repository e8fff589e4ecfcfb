"""Name servers that are pushed, in both of OpenVPN's ways, and what a client does with them."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent
from zope.interface import implementer

from twistvpn.client.names import NameServers
from twistvpn.config.settings import ClientSettings
from twistvpn.control.push import parse_pushed
from twistvpn.errors import EnvironmentRefusal, MalformedPacket
from twistvpn.nameservers import DnsServer, DnsSettings, IDnsConfigurator
from twistvpn.testing import pair
from twistvpn.wire.dns import read_dns

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

FIRST, SECOND, SIXTH = map(ip_address, ("10.8.0.1", "10.8.0.2", "fd00::1"))


def plain(*addresses: IPv4Address | IPv6Address) -> tuple[tuple[IPv4Address | IPv6Address, int | None], ...]:
    return tuple((address, None) for address in addresses)


@pytest.mark.shows("dns", "dhcp-option")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], DnsSettings()),
        (["dhcp-option DNS 10.8.0.1", "dhcp-option DNS6 fd00::1"], DnsSettings((DnsServer(0, plain(FIRST, SIXTH)),))),
        (
            [
                "dhcp-option DOMAIN example.org",
                "dhcp-option DOMAIN-SEARCH a.example b.example",
                "dhcp-option NTP 1.2.3.4",
            ],
            DnsSettings((), ("example.org", "a.example", "b.example")),
        ),
        (
            ["dns server 2 address 10.8.0.2", "dns server -1 address 10.8.0.1 [fd00::1]:853", "dns search-domains a b"],
            DnsSettings(
                (DnsServer(-1, (*plain(FIRST), (SIXTH, 853))), DnsServer(2, plain(SECOND))),
                ("a", "b"),
            ),
        ),
        (
            [
                "dns server 0 address 10.8.0.1:5353",
                "dns server 0 resolve-domains corp.example lab.example",
                "dns server 0 dnssec optional",
                "dns server 0 transport DoT",
                "dns server 0 sni dns.example",
                "dhcp-option DNS 10.8.0.2",
                "dhcp-option DOMAIN old.example",
            ],
            DnsSettings(
                (
                    DnsServer(
                        *(0, ((FIRST, 5353),), ("corp.example", "lab.example"), "optional", "DoT", "dns.example"),
                    ),
                ),
                ("old.example",),
            ),
        ),
        (["dns server 0 sni nobody.example", "dhcp-option DNS 10.8.0.2"], DnsSettings((DnsServer(0, plain(SECOND)),))),
        (["dns server 0 address fd00::1"], DnsSettings((DnsServer(0, plain(SIXTH)),))),
    ],
)
def test_what_is_wanted(options: list[str], expected: DnsSettings) -> None:
    assert read_dns(options) == expected


@pytest.mark.parametrize(
    "option",
    [
        *("dns", "dns search-domains", "dns server 1 address", "dns server 200 address 1.1.1.1", "dns resolver x y z"),
        *("dns server 1 address somewhere", "dns server 1 address 1.1.1.1:0", "dns server 1 address [fd00::1]:70000"),
        *(
            "dns server 1 transport pigeon",
            "dns server 1 dnssec maybe",
            "dns search-domains a;b",
            "dns server 1 colour red",
        ),
        *("dhcp-option", "dhcp-option DNS", "dhcp-option DNS somewhere", "dhcp-option DOMAIN $(reboot)"),
    ],
)
def test_what_cannot_be_read(option: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        read_dns([option])
    # It ends no session: nothing goes another way for it.
    assert parse_pushed([option]).unknown == (option,)


@given(st.text(), st.sampled_from(["dns ", "dhcp-option ", "dns server 1 ", "dns server 1 address "]))
def test_any_text_is_settings_or_a_refusal(text: str, beginning: str) -> None:
    with suppress(ValueError, IndexError, MalformedPacket):
        assert isinstance(read_dns([beginning + text]), DnsSettings)


@implementer(IDnsConfigurator)
class Resolver:
    """Remembers what it is told."""

    def __init__(self, refusal: str = "") -> None:
        self.told: list[tuple[str, DnsSettings] | None] = []
        self._refusal = refusal

    def apply(self, ifname: str, settings: DnsSettings) -> None:
        self.told.append((ifname, settings))
        if self._refusal:
            raise EnvironmentRefusal(self._refusal)

    def undo(self) -> None:
        self.told.append(None)


ONE = DnsSettings((DnsServer(0, plain(FIRST)),))


def client(*dns: str, nopull: bool = False) -> ClientSettings:
    return ClientSettings((), dns=dns, route_nopull=nopull)


def test_the_configurator_hears_of_changes_alone() -> None:
    resolver = Resolver()
    subject = NameServers(client(), resolver)
    subject.undo()
    subject.apply("tun0", parse_pushed([]))
    for _ in range(2):
        subject.apply("tun0", parse_pushed(["dhcp-option DNS 10.8.0.1"]))
    subject.apply("tun0", parse_pushed([]))
    subject.apply("tun1", parse_pushed(["dns server 0 address 10.8.0.1"]))
    subject.undo()
    subject.undo()
    assert resolver.told == [("tun0", ONE), None, ("tun1", ONE), None]


def test_our_own_come_first_and_pushed_ones_only_if_they_may() -> None:
    resolver = Resolver()
    NameServers(client("dhcp-option DNS 10.8.0.2"), resolver).apply("tun0", parse_pushed(["dhcp-option DNS 10.8.0.1"]))
    NameServers(client("dhcp-option DNS 10.8.0.1", nopull=True), resolver).apply(
        "tun0", parse_pushed(["dhcp-option DNS 10.8.0.2"])
    )
    assert resolver.told == [("tun0", DnsSettings((DnsServer(0, plain(SECOND, FIRST)),))), ("tun0", ONE)]


def test_what_is_wanted_is_logged_and_so_is_a_refusal() -> None:
    pushed = parse_pushed(
        ["dns server 0 address 10.8.0.1:53", "dns server 0 resolve-domains a b", "dns search-domains c"]
    )
    with capturedLogs() as logs:
        NameServers(client(), None).apply("tun0", pushed)
        NameServers(client(), Resolver("no resolver here")).apply("tun0", pushed)
    wish = "names in a b are to be resolved by 10.8.0.1 port 53; search domains are to be c"
    assert [formatEvent(event) for event in logs] == [
        f"{wish}; this host's resolver is left as it is",
        "no resolver here",
    ]


def test_a_whole_client_tells_its_host() -> None:
    vpn = pair("alice", server='push "dhcp-option DNS 10.8.0.1"')
    resolver = Resolver()
    alice = vpn.add_client("bob", dns=resolver)
    vpn.connect()
    assert resolver.told == [("tun0", ONE)]
    alice.stop()
    assert resolver.told == [("tun0", ONE), None]
