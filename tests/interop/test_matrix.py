"""A stock peer and ours over every kind of link, wrapping, cipher and TLS version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import GATEWAY, GATEWAY6, OURS, PORT, STOCK
from tests.interop.releases import stock_is_since
from tests.interop.tunnel import Tunnel, block

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Lab

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
BOTH_OURS = [*ROLES, pytest.param(OURS, OURS, id="both-ours")]

CHACHA20 = "CHACHA20-POLY1305" if stock_is_since("2.5") else "AES-256-GCM"
# Each pair of link and family, link and wrapping, family and wrapping, and each cipher and TLS version is here.
TUNNELS = [
    Tunnel("udp", 4, "plain", "AES-128-GCM", "1.2"),
    Tunnel("udp", 6, "tls-auth", "AES-192-GCM", "1.3"),
    Tunnel("udp", 6, "tls-crypt", CHACHA20, "1.2"),
    Tunnel("tcp", 4, "tls-auth", CHACHA20, "1.2"),
    Tunnel("tcp", 6, "plain", "AES-256-GCM", "1.3"),
    Tunnel("tcp", 4, "tls-crypt", "AES-128-GCM", "1.3"),
]
MEGABYTE = 1_000_000


def show_traffic(lab: Lab, server_kind: str, client_kind: str, size: int) -> None:
    """Connect, ping over IPv4 and IPv6 inside, and move `size` bytes each way over both."""
    server = lab.ini_server() if server_kind == OURS != STOCK else lab.server(server_kind)
    server.start()
    client = lab.client(client_kind)
    client.start()
    assert client.namespace.answers(GATEWAY6)
    assert lab.server_host.answers(client.address)
    assert lab.server_host.answers(client.address6)
    lab.exchange(client, size)
    lab.exchange(client, MEGABYTE, GATEWAY6, client.address6)


@pytest.mark.shows(
    "tls-auth",
    "tls-crypt",
    "key-direction",
    "auth",
    "data-ciphers",
    "tls-version-min",
    "tls-version-max",
    "server",
    "server-ipv6",
    "keepalive",
    "remote-cert-tls",
)
@pytest.mark.parametrize("tunnel", TUNNELS, ids=str)
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_tunnel(make_lab: MakeLab, tunnel: Tunnel, server_kind: str, client_kind: str) -> None:
    show_traffic(make_lab(tunnel), server_kind, client_kind, 2 * MEGABYTE)


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize(("server_kind", "client_kind"), BOTH_OURS)
def test_20_megabytes_each_way(make_lab: MakeLab, proto: str, server_kind: str, client_kind: str) -> None:
    show_traffic(make_lab(Tunnel(proto)), server_kind, client_kind, 20 * MEGABYTE)


@pytest.mark.shows("auth", "tls-auth")
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_tls_auth_with_one_key_for_both_directions(make_lab: MakeLab, server_kind: str, client_kind: str) -> None:
    lab = make_lab(Tunnel(wrapping="plain"))
    both_ways = ["auth SHA1", *block("tls-auth", lab.static_key)]
    lab.server(server_kind, *both_ways).start()
    lab.client(client_kind, "client", *both_ways).start()


def test_the_harness_with_stock_in_both_roles(lab: Lab) -> None:
    show_traffic(lab, STOCK, STOCK, MEGABYTE)


@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_large_pings_are_not_lost(lab: Lab, server_kind: str, client_kind: str) -> None:
    lab.server(server_kind).start()
    client = lab.client(client_kind)
    client.start()
    ping = client.namespace.command("ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", "-s", "4000", GATEWAY)
    assert " 0% packet loss" in run(*ping)


@pytest.mark.skipif(OURS == STOCK, reason="these are our own files")
@pytest.mark.parametrize("tunnel", TUNNELS[::2], ids=str)
def test_our_own_syntax_at_both_ends(make_lab: MakeLab, tunnel: Tunnel) -> None:
    lab = make_lab(tunnel)
    lab.ini_server().start()
    client = lab.ini_client()
    client.start()
    assert client.namespace.answers(GATEWAY6)


@pytest.mark.skipif(OURS == STOCK, reason="a stock server has one port")
def test_one_server_on_several_ports(make_lab: MakeLab) -> None:
    tunnels = [Tunnel("udp", 4), Tunnel("udp", 6), Tunnel("tcp", 4), Tunnel("tcp", 6)]
    lab = make_lab()
    lab.ini_server(f"udp:{PORT}", f"tcp:{PORT}", f"udp:{PORT + 1}").start()
    clients = []
    for number, lab.tunnel in enumerate(tunnels):
        for kind in (STOCK, OURS):
            clients.append(lab.client(kind, f"{kind}{number}"))
            clients[-1].start()
    assert len({client.address for client in clients}) == len(clients)
    for client in clients:
        lab.exchange(client, MEGABYTE)
