"""Ethernet through the tunnel: a tap at both ends, bridged or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import GATEWAY6, OURS, STOCK
from tests.interop.tunnel import Tunnel
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
TAP = "tap0"
MEGABYTE = 1_000_000


@pytest.mark.shows("dev-type", "server", "server-ipv6", "mssfix")
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
