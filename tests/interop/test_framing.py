"""What lies between packets and sealing: compression's framing, compressed packets of a stock peer, and fragments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import GATEWAY, GATEWAY6, OURS, STOCK
from tests.interop.releases import stock_is_since
from tests.interop.tunnel import Tunnel
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab
    from tests.interop.netns import Namespace
    from tests.interop.peers import Client, Lab

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
MEGABYTE = 1_000_000
PINGS = 5
QUIET = "keepalive 10 60"
"""With a framing, stock peers now and then lose a packet when they ping, over TCP above all."""


def ping(source: Namespace, target: str, size: int) -> bool:
    """Send pings with `size` zeros in each; whether all are answered."""
    command = ["ping", "-n", "-c", str(PINGS), "-i", "0.02", "-W", "2", "-s", str(size), "-p", "00", target]
    return " 0% packet loss" in run(*source.command(*command))


def sent(host: Namespace) -> int:
    """Bytes that have left the host outside of the tunnel."""
    links = host.ip_json("-s", "link")
    return sum(link["stats64"]["tx"]["bytes"] for link in links if link["ifname"].startswith("outside"))


def datagrams_received(host: Namespace) -> int:
    """UDP datagrams that programs on the host have received."""
    names, numbers = (line.split() for line in run(*host.command("grep", "^Udp:", "/proc/net/snmp")).splitlines())
    return int(numbers[names.index("InDatagrams")])


def show_traffic(lab: Lab, client: Client) -> None:
    """Move bytes each way over both versions of IP, and pings of many sizes."""
    wait_until(lambda: client.namespace.answers(GATEWAY6), "the gateway answers over IPv6")
    for size in (0, 1400, 4000):
        wait_until(lambda: ping(client.namespace, GATEWAY, size), f"pings of {size} bytes are answered")  # noqa: B023
    wait_until(lambda: ping(lab.server_host, client.address, 1400), "the client answers")
    lab.exchange(client, MEGABYTE)


@pytest.mark.shows("compress", "comp-lzo", "allow-compression")
@pytest.mark.parametrize(
    ("option", "proto"), [("comp-lzo yes", "udp"), ("compress lz4", "tcp"), ("compress lz4-v2", "udp")]
)
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_what_a_stock_peer_compresses(
    make_lab: MakeLab, option: str, proto: str, server_kind: str, client_kind: str
) -> None:
    lab = make_lab(Tunnel(proto))
    stock = [option, "setenv opt allow-compression yes"]
    lab.server(server_kind, QUIET, *(stock if server_kind == STOCK else [option])).start()
    client = lab.client(client_kind, "client", *(stock if client_kind == STOCK else [option]))
    client.start()
    show_traffic(lab, client)
    if stock_is_since("2.7"):
        return  # It decompresses only, as we do.
    stock_host, our_host = lab.server_host, client.namespace
    if client_kind == STOCK:
        stock_host, our_host = our_host, stock_host

    def is_smaller() -> bool:
        """Of what came before, acknowledgements may still be on their way."""
        stock_before, our_before = sent(stock_host), sent(our_host)
        ping(client.namespace, GATEWAY, 1400)
        return sent(stock_host) - stock_before < PINGS * 500 < PINGS * 1400 < sent(our_host) - our_before

    wait_until(is_smaller, "what the stock peer sends is smaller than what we do")


@pytest.mark.shows("compress", "comp-lzo")
@pytest.mark.parametrize(
    ("option", "proto"), [("comp-lzo no", "tcp"), ("compress", "udp"), ("compress stub-v2", "udp")]
)
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_a_framing_at_both_ends(make_lab: MakeLab, option: str, proto: str, server_kind: str, client_kind: str) -> None:
    lab = make_lab(Tunnel(proto))
    lab.server(server_kind, option, *([QUIET] if proto == "tcp" else [])).start()
    client = lab.client(client_kind, "client", option)
    client.start()
    show_traffic(lab, client)


@pytest.mark.shows("compress", "comp-lzo", "allow-compression", "push")
@pytest.mark.parametrize("option", ["comp-lzo no", "compress lz4"])
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_a_framing_that_is_pushed(lab: Lab, option: str, server_kind: str, client_kind: str) -> None:
    asym = "allow-compression asym"
    own = [option] if server_kind == STOCK else []
    lab.server(server_kind, f'push "{option}"', asym, *own).start()
    client = lab.client(client_kind, "client", asym)
    client.start()
    show_traffic(lab, client)


@pytest.mark.shows("compress")
@pytest.mark.parametrize("line", ["comp-lzo no", "comp-lzo", "compress"])
def test_a_client_that_still_has_compression_in_its_profile(lab: Lab, line: str) -> None:
    lab.server(OURS).start()
    client = lab.client(STOCK, "client", line)
    client.start()
    show_traffic(lab, client)


@pytest.mark.shows("fragment", "mssfix")
@pytest.mark.parametrize("lines", [["fragment 1000"], ["fragment 600 mtu", "compress"]], ids=" ".join)
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_large_packets_leave_in_parts(lab: Lab, lines: list[str], server_kind: str, client_kind: str) -> None:
    lab.server(server_kind, *lines).start()
    client = lab.client(client_kind, "client", *lines)
    client.start()
    show_traffic(lab, client)
    hosts = client.namespace, lab.server_host
    before = list(map(datagrams_received, hosts))
    ping(client.namespace, GATEWAY, 1400)
    after = list(map(datagrams_received, hosts))
    # Two parts at least of each, and few pings of the peers' own.
    assert all(later - earlier > PINGS * 3 // 2 for later, earlier in zip(after, before, strict=True))


@pytest.mark.shows("allow-compression")
def test_a_client_that_allows_no_compression_says_why(lab: Lab) -> None:
    lab.server(STOCK, "compress lz4", 'push "compress lz4"').start()
    client = lab.client(OURS, "client", "allow-compression no")
    client.process.start()
    client.process.wait_for_line("pushes compress lz4, and allow-compression is no")
    wait_until(lambda: not client.process.running(), "the client has ended")
