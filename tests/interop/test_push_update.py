"""Options that change while a client is connected: OpenVPN 2.7 knows that, older ones are told nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.management import Management
from tests.interop.peers import GATEWAY, OURS, STOCK
from tests.interop.releases import stock_before, stock_since
from tests.interop.test_authentication import application, asking_server, login
from tests.interop.test_push import routes
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.peers import Client, Lab

pytestmark = [pytest.mark.interop, pytest.mark.skipif(OURS == STOCK, reason="updates in Python")]


only_new = stock_since("2.7", "PUSH_UPDATE")
PUSHED = ('push "route 192.168.77.0 255.255.255.0"', 'push "route-ipv6 fd77::/64"')


def networks(client: Client) -> set[str]:
    """What lies behind the tunnel, of what these tests push."""
    found = routes(client.namespace.ip_json("route")) | routes(client.namespace.ip_json("-6", "route"))
    return {network for network in found if network.startswith(("192.168.", "fd77"))}


@pytest.mark.parametrize("client_kind", [OURS, pytest.param(STOCK, marks=only_new)])
def test_our_server_moves_a_connected_client(lab: Lab, client_kind: str) -> None:
    server = asking_server(lab, *PUSHED)
    client = lab.client(client_kind, "client", *login(lab, "moved"))
    client.start()
    server.process.wait_for_line("told to move: True")
    wait_until(lambda: networks(client) == {"192.168.78.0/24"}, "the other routes")
    wait_until(lambda: client.address == "10.8.0.77", "the other address")
    wait_until(lambda: client.namespace.answers(GATEWAY), "packets flow")
    lab.exchange(client, 100_000)


@stock_before("2.7", "PUSH_UPDATE")
def test_an_older_client_stays_as_it_is(lab: Lab) -> None:
    server = asking_server(lab, *PUSHED)
    client = lab.client(STOCK, "client", *login(lab, "moved"))
    client.start()
    server.process.wait_for_line("told to move: False")
    assert client.namespace.answers(GATEWAY)


@only_new
def test_our_client_follows_a_stock_server(lab: Lab) -> None:
    management = Management(lab.directory / "management")
    server = lab.server(STOCK, *PUSHED, *management.options)
    server.process.start()
    management.connect()
    server.wait_ready()
    client = lab.client(OURS)
    application(client)
    client.start()
    management.say('push-update-broad "route 192.168.78.0 255.255.255.0, -route-ipv6, ?novel 1"')
    management.wait_for("SUCCESS: 1 client")
    wait_until(lambda: networks(client) == {"192.168.78.0/24"}, "the other routes")
    management.say('push-update-broad "-route, ifconfig 10.8.0.77 255.255.255.0"')
    wait_until(lambda: networks(client) == set(), "no routes")
    wait_until(lambda: client.namespace.answers(GATEWAY), "packets flow")
    assert client.address == "10.8.0.77"
    management.say('push-update-broad "cipher AES-128-GCM"')
    client.process.wait_for_line("cipher cannot be changed while a client is connected")
    management.close()
