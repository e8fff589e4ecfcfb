"""`allow-pull-fqdn`: addresses take the place of names that a server pushes."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from tests.test_push_update import transport_of
from twistvpn.client.link import NameNotFound
from twistvpn.client.lookup import PATIENCE, PulledNames
from twistvpn.client.service import ClientState
from twistvpn.control.pulled_names import MOST_NAMES, names_in, with_addresses
from twistvpn.testing import Pair, pair

FOUND = {"a.example": ["192.0.2.1", "192.0.2.2"], "b": ["192.0.2.9"]}
LABELS = st.text("abcXYZ0129-.", max_size=12)


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("route a.example", ["route 192.0.2.1", "route 192.0.2.2"]),
        ("route b 255.255.255.0 a.example 7", ["route 192.0.2.9 255.255.255.0 192.0.2.1 7"]),
        ("route 10.0.0.0 255.0.0.0 b", ["route 10.0.0.0 255.0.0.0 192.0.2.9"]),
        ("route 10.0.0.0 255.0.0.0 default 5", None),
        ("route vpn_gateway", None),
        ("route-gateway b", ["route-gateway 192.0.2.9"]),
        ("route-gateway dhcp", None),
        ("ifconfig a.example b", ["ifconfig 192.0.2.1 192.0.2.9"]),
        ("ifconfig 10.8.0.2 255.255.255.0", None),
        ("dhcp-option DOMAIN a.example", None),
        ('route "a.example', None),
        ("route a_b", None),
        ("", None),
    ],
)
def test_an_option(option: str, wanted: list[str] | None) -> None:
    assert with_addresses([option], FOUND) == ([option] if wanted is None else wanted, [])


def test_what_has_no_address_is_left_out() -> None:
    options = ["route nowhere.example", "route b", "route b 255.255.255.255 nowhere.example"]
    assert names_in(options) == ["nowhere.example", "b"]
    assert with_addresses(options, FOUND) == (["route 192.0.2.9"], [options[0], options[2]])


def test_there_is_a_most() -> None:
    assert len(names_in(f"route host{number}.example" for number in range(10_000))) == MOST_NAMES


@given(st.lists(st.builds("{} {} {}".format, st.sampled_from(["route", "ifconfig", "x"]), LABELS, LABELS)))
def test_nothing_that_is_looked_up_stays_a_name(options: list[str]) -> None:
    names = names_in(options)
    kept, left_out = with_addresses(options, {name: ["192.0.2.1"] for name in names})
    assert not left_out or len(names) == MOST_NAMES
    assert names_in(kept) == []


class Names:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: dict[str, Deferred[list[str]]] = {}

    def look_up(self, name: str) -> Deferred[list[str]]:
        self.asked[name] = Deferred()
        return self.asked[name]


def test_only_the_latest_look_counts() -> None:
    clock, names = Clock(), Names()
    used: list[object] = []
    subject = PulledNames(names.look_up, clock)
    subject.replace(["route a"], used.append)
    first = names.asked["a"]
    subject.replace(["route b", "route c", "route d"], used.append)
    assert first.called
    assert subject.is_looking
    names.asked["b"].callback(["192.0.2.9"])
    names.asked["c"].errback(NameNotFound("c"))
    assert used == []
    clock.advance(PATIENCE)
    assert used == [["route 192.0.2.9"]]
    assert not subject.is_looking
    subject.replace(["route e"], used.append)
    subject.cancel()
    assert len(used) == 1
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("answer", [succeed(["192.0.2.9"]), fail(NameNotFound("x"))])
def test_names_that_are_known_at_once(answer: Deferred[list[str]]) -> None:
    used: list[object] = []
    PulledNames(lambda _: answer, Clock()).replace(["route a.example"], used.append)
    assert len(used) == 1


def routes(vpn: Pair) -> list[IPv4Network]:
    pushed = vpn.client.pushed
    assert pushed is not None
    return [route.network for route in pushed.routes if isinstance(route.network, IPv4Network)]


@pytest.mark.shows("allow-pull-fqdn")
def test_a_server_pushes_names_and_changes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    vpn = pair(
        server='push "route a.example"\npush "route secret.example"',
        client='allow-pull-fqdn\npull-filter ignore "route secret"',
        connect=False,
    )
    names = Names()
    monkeypatch.setattr(vpn.client.service._connector, "_look_up", names.look_up)
    vpn.server.start()
    vpn.client.start()
    vpn.wait_until(lambda: names.asked)
    vpn.advance(5)
    assert vpn.client.service.state is ClientState.JOINING
    assert list(names.asked) == ["a.example"]
    names.asked["a.example"].callback(["192.0.2.1", "192.0.2.2"])
    vpn.wait_until(lambda: vpn.client.is_connected)
    assert routes(vpn) == [IPv4Network("192.0.2.1"), IPv4Network("192.0.2.2")]
    assert transport_of(vpn).push_update(["route b.example"])
    vpn.wait_until(lambda: "b.example" in names.asked)
    names.asked["b.example"].callback(["192.0.2.3"])
    assert IPv4Network("192.0.2.3") in routes(vpn)


def test_a_client_that_leaves_while_names_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    vpn = pair(server='push "route a.example"', client="allow-pull-fqdn", connect=False)
    names = Names()
    monkeypatch.setattr(vpn.client.service._connector, "_look_up", names.look_up)
    vpn.server.start()
    vpn.client.start()
    vpn.wait_until(lambda: names.asked)
    vpn.client.stop()
    assert names.asked["a.example"].called
    assert not vpn.client.times_connected
