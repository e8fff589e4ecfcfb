"""What there is to compare: who talks to whom, over which link, and what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

STOCK = "stock"
OURS = "ours"
BARE = "bare"
"""Both ends a Twisted program that does nothing but forward: see `bench.bare`."""

UDP, TCP, TLS = "udp", "tcp", "tls"
LINKS = (UDP, TCP, TLS)
NO_LINK = "none"
"""The link of what is measured without one."""
CROWD = "clients"
"""The link, UDP, of many clients on one server."""
EVERY_LINK = (*LINKS, CROWD, NO_LINK)


@dataclass(frozen=True)
class Pair:
    """Two ends of a tunnel; both '' is none at all."""

    key: str
    label: str
    server: str
    client: str
    kernel: str = ""
    """TWISTVPN_KERNEL of our ends; '' leaves the choice to them."""
    only: str = ""
    """The one probe (`traffic.probes`) that it is measured with; '' is all."""

    def runs_over(self, link: str) -> bool:
        """Whether there is such a tunnel: stock has no TLS link, and without a tunnel there is no link."""
        if not self.server:
            return link == NO_LINK
        if self.server == BARE:
            return link == UDP
        return link in {UDP, TCP} or (link == TLS and STOCK not in {self.server, self.client})


NO_TUNNEL = Pair("none", "no tunnel", "", "")
REFERENCE = Pair("stock", "stock, both ends", STOCK, STOCK)
COMPILED = Pair("compiled", "ours, compiled kernel", OURS, OURS, "compiled")
PURE = Pair("pure", "ours, pure Python", OURS, OURS, "pure")
OUR_SERVER = Pair("our-server", "stock client, our server", OURS, STOCK)
OUR_CLIENT = Pair("our-client", "our client, stock server", STOCK, OURS)
FLOOR = Pair("floor", "Twisted alone, no VPN", BARE, BARE, only="ping")
PAIRS = (NO_TUNNEL, REFERENCE, COMPILED, PURE, OUR_SERVER, OUR_CLIENT, FLOOR)
OUR_SIDE = Pair("ours", "ours", OURS, OURS)
"""For what has one end, or no packet passes: the kernel is the one that runs by itself."""
COLUMNS = (*PAIRS, OUR_SIDE)


class Better(Enum):
    """Which way a figure improves."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True)
class Measure:
    """One figure; `row` is the name that chooses it on the command line."""

    key: str
    row: str
    label: str
    unit: str
    better: Better


def _traffic() -> list[Measure]:
    streams = {1: "1 TCP stream", 8: "8 TCP streams"}
    ways = {"up": "to the server", "down": "from the server"}
    named = [(f"tcp-{count}-{way}", "tcp", f"{streams[count]} {ways[way]}") for count in streams for way in ways]
    sizes = (1400, 512, 64)
    named += [(f"udp-{size}", "udp", f"UDP flood, {size} bytes, received") for size in sizes]
    measures = [Measure(key, row, label, "Gbit/s", Better.HIGHER) for key, row, label in named]
    loads = [(key, row, label.removesuffix(", received")) for key, row, label in named]
    return measures + [
        Measure(f"{key}-cpu", row, f"server CPU, {label}", "s/GB", Better.LOWER) for key, row, label in loads
    ]


MEASURES = (
    *_traffic(),
    Measure("ping-p50", "ping", "ping p50, idle", "ms", Better.LOWER),
    Measure("ping-p99", "ping", "ping p99, idle", "ms", Better.LOWER),
    Measure("loaded-ping-p50", "ping", "ping p50, under load", "ms", Better.LOWER),
    Measure("loaded-ping-p99", "ping", "ping p99, under load", "ms", Better.LOWER),
    Measure("handshakes", "handshakes", "handshakes a second", "1/s", Better.HIGHER),
    Measure("handshake-cpu", "handshakes", "server CPU per handshake", "ms", Better.LOWER),
    Measure("memory-100", "memory", "memory per idle client, of 100", "KB", Better.LOWER),
    Measure("memory-1000", "memory", "memory per idle client, of 1000", "KB", Better.LOWER),
    Measure("routes-1", "routes", "routing a packet, 1 route", "us", Better.LOWER),
    Measure("routes-100", "routes", "routing a packet, 100 routes", "us", Better.LOWER),
    Measure("routes-10000", "routes", "routing a packet, 10,000 routes", "us", Better.LOWER),
)
BY_KEY = {measure.key: measure for measure in MEASURES}
ROWS = tuple(dict.fromkeys(measure.row for measure in MEASURES))


@dataclass(frozen=True)
class Plan:
    """What one run does."""

    rows: tuple[str, ...] = ROWS
    links: tuple[str, ...] = LINKS
    pairs: tuple[Pair, ...] = PAIRS
    rounds: int = 5
    seconds: int = 3
    """Of each transfer."""
    pings: int = 300
    handshakes: int = 200
    crowds: tuple[int, ...] = (100, 1000)
    """How many idle clients the memory is measured with."""
    limit: float = 3600.0
    """Seconds after which nothing more is started."""


QUICK = Plan(rounds=1, seconds=1, pings=100, handshakes=100, crowds=(100,), limit=255.0)
"""A look in under five minutes; single figures, so that a noisy machine shows."""
