"""What a client makes of what a server pushes: routes, metrics, IPv6 that is blocked, filters of its own."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import GATEWAY6, OURS, STOCK
from tests.interop.releases import stock_is_since
from tests.interop.tunnel import DEVICE
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.netns import Namespace
    from tests.interop.peers import Lab

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]

only_ours = pytest.mark.skipif(OURS == STOCK, reason="stock does it in other words, or otherwise")


def routes(namespace: Namespace) -> dict[str, int]:
    """Where the tunnel leads, with metrics."""
    entries = namespace.ip_json("route")
    return {entry["dst"]: entry.get("metric", 0) for entry in entries if entry.get("dev") == DEVICE}


def refused6(namespace: Namespace) -> bool:
    """Whether a ping to the gateway over IPv6 is answered with an error at once."""
    ping = namespace.command("sh", "-c", f"ping -6 -n -c 1 -W 5 {GATEWAY6} || true")
    return "Destination unreachable: No route" in run(*ping)


@pytest.mark.shows("route", "route-metric", "block-ipv6", "push", "pull-filter", "dns", "dhcp-option")
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_pushed_options(lab: Lab, server_kind: str, client_kind: str) -> None:
    pushed = [
        "route 172.20.1.0 255.255.255.0",
        "route 172.20.2.0 255.255.255.0 vpn_gateway 7",
        "route 172.20.3.0 255.255.255.0",
        *("route-metric 50", "block-ipv6", "dhcp-option DNS 10.8.0.1", "dns server 1 address 10.8.0.1"),
        *("block-outside-dns", "setenv-safe COLOUR red", "something-of-the-future 1 2 3"),
    ]
    lab.server(server_kind, *(f'push "{option}"' for option in pushed)).start()
    filters = ['pull-filter accept "route 172.20.1"', 'pull-filter ignore "route 172.20.3"']
    client = lab.client(client_kind, "client", *filters, "route 172.20.9.0 255.255.255.0 10.99.1.1")
    client.start()
    wait_until(lambda: "172.20.2.0/24" in routes(client.namespace), "the routes")
    found = routes(client.namespace)
    assert (found["172.20.1.0/24"], found["172.20.2.0/24"]) == (50, 7)
    assert "172.20.3.0/24" not in found
    # The gateway of this one is on the way outside, not in the tunnel.
    outside = [(route["gateway"], route["dev"]) for route in client.namespace.ip_json("route", "show", "172.20.9.0/24")]
    assert outside == [("10.99.1.1", "outside")]
    if client_kind == OURS or stock_is_since("2.5"):
        assert refused6(client.namespace)
    lab.exchange(client, 100_000)
    if client_kind == OURS != STOCK:
        client.process.wait_for_line(r"names are to be resolved by 10\.8\.0\.1; this host's resolver is left as it is")
        client.process.wait_for_line(r"pushes 'something-of-the-future 1 2 3', which changes nothing here")


@only_ours
@pytest.mark.shows("block-ipv6")
def test_a_server_that_blocks_ipv6(lab: Lab) -> None:
    lab.server(OURS, "block-ipv6").start()
    client = lab.client(STOCK)
    client.start()
    assert refused6(client.namespace)


@only_ours
@pytest.mark.shows("pull-filter", "ifconfig-noexec", "route-noexec")
def test_a_client_that_leaves_its_host_alone_and_one_that_rejects(lab: Lab) -> None:
    lab.server(STOCK, 'push "route 172.20.1.0 255.255.255.0"').start()
    quiet = lab.client(OURS, "quiet", "ifconfig-noexec", "route-noexec")
    picky = lab.client(OURS, "picky", 'pull-filter reject "route 172.20"')
    for client in (quiet, picky):
        client.process.start()
    quiet.process.wait_for_line(r"connected to .*our address is 10\.8\.0\.")
    picky.process.wait_for_line(r"which pull-filter rejects; trying again")
    for client in (quiet, picky):
        assert client.addresses() == []
        assert routes(client.namespace) == {}
        assert client.alive()


@only_ours
@pytest.mark.shows("redirect-gateway")
def test_the_local_network_is_blocked_but_for_its_gateway(lab: Lab) -> None:
    lab.server(STOCK, 'push "redirect-gateway def1 block-local"').start()
    client = lab.client(OURS)
    client.namespace.ip("route", "add", "default", "via", "10.99.1.1")
    client.start()
    halves = {"10.99.1.0/25", "10.99.1.128/25", "0.0.0.0/1", "128.0.0.0/1"}
    wait_until(lambda: halves <= routes(client.namespace).keys(), "the local network is in the tunnel")
    assert client.namespace.ip_json("route", "get", "10.99.1.1")[0]["dev"] == "outside"
    lab.exchange(client, 100_000)


@pytest.mark.shows("allow-pull-fqdn")
@pytest.mark.parametrize("kind", [OURS, STOCK])
def test_names_that_the_server_pushes_are_looked_up_if_the_client_lets_it(lab: Lab, kind: str) -> None:
    lab.server(STOCK if kind == OURS else OURS, 'push "route office.example 255.255.255.255"').start()
    client = lab.client(kind, "client", "allow-pull-fqdn")
    # What `ip netns exec` puts in the place of /etc/hosts.
    folder = Path("/etc/netns") / client.namespace.name
    folder.mkdir(parents=True)
    try:
        (folder / "hosts").write_text("172.31.7.7 office.example\n172.31.7.8 office.example\n")
        client.start()
        found = {entry["dst"] for entry in client.namespace.ip_json("route")}
    finally:
        shutil.rmtree(folder)
        with suppress(OSError):
            folder.parent.rmdir()
    assert found >= {"172.31.7.7", "172.31.7.8"}
