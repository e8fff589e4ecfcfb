"""What a server pushes and a client does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import OURS, STOCK
from tests.interop.releases import stock_is_since
from tests.interop.tunnel import DEVICE
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.peers import Lab

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
BOTH_OURS = [*ROLES, pytest.param(OURS, OURS, id="both-ours")]


@pytest.mark.shows("push", "route", "route-ipv6")
@pytest.mark.parametrize(("server_kind", "client_kind"), BOTH_OURS)
def test_pushed_routes_lead_behind_the_server(lab: Lab, server_kind: str, client_kind: str) -> None:
    behind = ["192.168.77.1", "fd77::1"]
    for address in behind:
        lab.server_host.ip("addr", "add", address, "dev", "lo")
    pushed = ['push "route 192.168.77.0 255.255.255.0"', 'push "route-ipv6 fd77::/64"']
    lab.server(server_kind, *pushed).start()
    client = lab.client(client_kind)
    client.start()
    wait_until(lambda: all(map(client.namespace.answers, behind)), "both answer through the tunnel")


@pytest.mark.parametrize(("server_kind", "client_kind"), BOTH_OURS)
def test_a_push_reply_of_several_parts(lab: Lab, server_kind: str, client_kind: str) -> None:
    wanted = {f"172.20.{number}.0/24" for number in range(70)}
    lines = [f'push "route 172.20.{number}.0 255.255.255.0"' for number in range(70)]
    lab.server(server_kind, *lines).start()
    client = lab.client(client_kind)
    client.start()
    wait_until(lambda: wanted <= routes(client.namespace.ip_json("route")), "all the pushed routes")


def routes(entries: list[dict[str, str]]) -> set[str]:
    """The destinations that lie behind the tunnel."""
    return {entry["dst"] for entry in entries if entry.get("dev") == DEVICE}


@pytest.mark.shows("tun-mtu")
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_the_tunnel_has_the_configured_mtu(lab: Lab, server_kind: str, client_kind: str) -> None:
    lab.server(server_kind, "tun-mtu 1400", 'push "tun-mtu 1400"').start()
    # Up to 2.5 clients have to know it.
    own = [] if stock_is_since("2.6") else ["tun-mtu 1400"]
    client = lab.client(client_kind, "client", *own)
    client.start()
    for peer in (client.namespace, lab.server_host):
        assert [link["mtu"] for link in peer.ip_json("link") if link["ifname"] == DEVICE] == [1400]
    lab.exchange(client, 1_000_000)
