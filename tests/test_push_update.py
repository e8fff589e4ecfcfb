"""Options that change while a client is connected."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from tests.routing import peer_at
from tests.scripted_client import MODERN, ScriptedClient, serving
from twistvpn.client.service import ClientState
from twistvpn.control.push_update import Change, PendingUpdate, checked_changes, read_change
from twistvpn.errors import ConfigError, MalformedPacket, NegotiationError, PoolExhausted
from twistvpn.testing import Pair, pair, transfer, udp_packet
from twistvpn.wire.options import IvProto

if TYPE_CHECKING:
    from twistvpn.server.factory import ClientProtocol, TunnelTransport

BEFORE = ["route 10.1.0.0 255.255.0.0", "route 10.2.0.0 255.255.0.0", "ping 10", "ping-restart 60", "redirect-private"]


# What an update does to the options


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("route 10.1.0.0 255.255.0.0", Change(("route", "10.1.0.0", "255.255.0.0"), removes=False, is_optional=False)),
        (" -dns", Change(("dns",), removes=True, is_optional=False)),
        ("?block-ipv6", Change(("block-ipv6",), removes=False, is_optional=True)),
        ("-?dns", Change(("dns",), removes=True, is_optional=True)),
        ("?novel 1", Change(("novel", "1"), removes=False, is_optional=True)),
    ],
)
def test_flags_are_read(text: str, change: Change) -> None:
    assert read_change(text) == change


@pytest.mark.parametrize(
    "text", ["", "-", "?", "?-dns", "--dns", "cipher AES-256-GCM", "-cipher", "-route 10.1.0.0", "routes 1", 'route "1']
)
def test_what_no_client_follows_is_refused(text: str) -> None:
    with pytest.raises(MalformedPacket):
        read_change(text)
    with pytest.raises(ConfigError):
        checked_changes([text])


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(MalformedPacket):
        assert read_change(text).words


def updated(*messages: list[str]) -> list[str]:
    update = PendingUpdate(BEFORE)
    for options in messages:
        update.take(options)
    return update.options


def test_the_first_of_a_kind_takes_the_place_of_those_before() -> None:
    first, second = "route 10.3.0.0 255.255.0.0", "route 10.4.0.0 255.255.0.0"
    assert updated([first, second]) == [*BEFORE[2:], first, second]
    assert updated([first], [second]) == [*BEFORE[2:], first, second]


@pytest.mark.parametrize(
    ("options", "gone", "new"),
    [
        (["-route"], BEFORE[:2], []),
        (["-dns"], [], []),
        (["redirect-gateway def1"], ["redirect-private"], ["redirect-gateway def1"]),
        (["-redirect-gateway"], ["redirect-private"], []),
        (["keepalive 5 20"], ["ping 10", "ping-restart 60"], ["ping 5", "ping-restart 20"]),
        (["tun-mtu 1300", "tun-mtu 1200"], [], ["tun-mtu 1300", "tun-mtu 1200"]),
        (["?route nonsense", "?novel 1", ""], [], []),
    ],
)
def test_what_goes_and_what_comes(options: list[str], gone: list[str], new: list[str]) -> None:
    assert updated(options) == [*(option for option in BEFORE if option not in gone), *new]


def test_what_may_be_ignored_is_remembered() -> None:
    update = PendingUpdate(BEFORE)
    update.take(["?route nonsense", "?novel 1", "?tun-mtu 1300"])
    assert update.ignored == ["?route nonsense", "?novel 1"]


@pytest.mark.parametrize("option", ["cipher AES-128-GCM", "peer-id 3", "auth-token x"])
def test_what_may_not_change_is_refused(option: str) -> None:
    with pytest.raises(NegotiationError, match="cannot be followed"):
        updated([option])


def test_options_that_are_oddly_written_go_like_others() -> None:
    update = PendingUpdate(['"route" 10.3.0.0 255.255.0.0', "  ", "route-gateway 10.8.0.1", 'filtered "out'])
    update.take(["-route"])
    assert update.options == ["  ", "route-gateway 10.8.0.1", 'filtered "out']


def test_options_without_end_that_may_be_ignored_are_refused() -> None:
    update = PendingUpdate(BEFORE)
    with pytest.raises(NegotiationError, match="without end"):
        update.take([f"?novel {'x' * 1000}"] * 100)


def test_an_endless_update_is_refused() -> None:
    update = PendingUpdate(BEFORE)
    for number in range(60):
        update.take([f"dns search-domains {number} {'x' * 1000}"])
    with pytest.raises(NegotiationError, match="without end"):
        update.take(["dns search-domains x" * 500])


# A server and its clients


def transport_of(vpn: Pair) -> TunnelTransport:
    protocol: ClientProtocol
    (protocol,) = vpn.server.factory.clients
    return protocol.transport


def test_routes_change_under_a_connected_client() -> None:
    vpn = pair(server='push "route 10.1.0.0 255.255.0.0"\npush "ping 10"')
    assert transport_of(vpn).push_update(["route 10.2.0.0 255.255.0.0", "keepalive 3 30", "?novel"])
    vpn.advance(1)
    pushed = vpn.client.pushed
    assert pushed is not None
    assert [route.network for route in pushed.routes] == [IPv4Network("10.2.0.0/16")]
    peer = vpn.client.service.peer
    assert peer is not None
    assert (peer.timers.keepalive.ping, peer.timers.keepalive.ping_restart) == (3.0, 30.0)
    assert vpn.client.times_connected == 1


def test_an_update_of_several_messages() -> None:
    vpn = pair(loss=0.2, reordering=0.2, seed=3)
    routes = [f"route 10.{number}.0.0 255.255.0.0" for number in range(100)]
    transport_of(vpn).push_update(routes)
    vpn.wait_until(lambda: vpn.client.pushed is not None and len(vpn.client.pushed.routes) == 100)


def test_a_client_gets_another_address() -> None:
    vpn = pair("alice", "bob")
    alice, bob = (
        next(c.transport for c in vpn.server.factory.clients if c.transport.getPeer().identity == name)
        for name in ("alice", "bob")
    )
    new = IPv4Address("10.8.0.77")
    assert alice.push_update([f"ifconfig {new} 255.255.255.0"])
    vpn.advance(1)
    client = vpn.clients["alice"]
    assert client.address == new
    assert alice.getPeer().lease.ipv4 == new
    there, back = udp_packet(new, vpn.server.address), udp_packet(vpn.server.address, new)
    assert transfer(client, vpn.server, there) == [there]
    assert transfer(vpn.server, client, back) == [back]
    with pytest.raises(PoolExhausted):
        bob.push_update([f"ifconfig {new} 255.255.255.0"])
    client.stop()
    vpn.advance(5)
    assert bob.push_update([f"ifconfig {new} 255.255.255.0"])
    assert peer_at(vpn.server.factory.routes, IPv4Address("10.8.0.3")) is None


def test_an_address_may_be_taken_away() -> None:
    vpn = pair()
    assert transport_of(vpn).push_update(["-ifconfig-ipv6"])
    vpn.advance(1)
    assert transport_of(vpn).getPeer().lease.ipv6 is None
    assert vpn.client.pushed is not None
    assert vpn.client.pushed.ipv6 is None


def test_everybody_is_told_but_who_does_not_understand() -> None:
    vpn = pair("alice", "bob")
    capable = {**MODERN, "IV_PROTO": str(990 | int(IvProto.PUSH_UPDATE))}
    old, new = ScriptedClient(vpn, name="old"), ScriptedClient(vpn, capable, name="new", port=5001)
    assert vpn.server.factory.push_update(["-dns", "route 10.2.0.0 255.255.0.0"]) == 3
    vpn.advance(1)
    assert new.texts[-1] == "PUSH_UPDATE,-dns,route 10.2.0.0 255.255.0.0"
    assert not any("PUSH_UPDATE" in text for text in old.texts)
    with pytest.raises(ConfigError, match="is for one client"):
        vpn.server.factory.push_update(["ifconfig 10.8.0.9 255.255.255.0"])
    with pytest.raises(ConfigError, match="cannot be changed"):
        vpn.server.factory.push_update(["cipher AES-128-GCM"])


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no address"):
        transport_of(pair()).push_update(["ifconfig nowhere 255.255.255.0"])


def test_a_client_that_does_not_understand_is_told_nothing() -> None:
    vpn = serving()
    client = ScriptedClient(vpn)
    assert not transport_of(vpn).push_update(["-dns"])
    assert len(client.texts) == 1


def test_our_client_leaves_a_server_that_changes_what_cannot_change() -> None:
    vpn = pair()
    (peer,) = vpn.server.factory.connections
    with capturedLogs() as logged:
        peer.send_message("PUSH_UPDATE,cipher AES-128-GCM")
        vpn.advance(0.5)
    assert vpn.client.service.state is ClientState.WAITING
    assert any("cipher cannot be changed" in str(event.get("reason")) for event in logged)
    vpn.wait_until(lambda: vpn.client.times_connected == 2)


def test_an_update_before_there_are_options_means_nothing() -> None:
    vpn = serving()
    client = ScriptedClient(vpn)
    assert client.say("PUSH_UPDATE,-dns") == []
    assert client.lost == []
