"""What routing costs a packet, by the number of routes."""

from __future__ import annotations

import random
import timeit
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from twistvpn.data.routes import RouteTable
from twistvpn.interfaces import Frame

if TYPE_CHECKING:
    from bench.traffic import Figures
    from twistvpn.interfaces import Buffer

ROUTES = (1, 100, 10_000)
BATCH = 32
REPETITIONS = 300
FIRST_ADDRESS = int(IPv4Address("10.8.0.2"))


def _packet(source: int, destination: int) -> Buffer:
    return b"\x45" + bytes(11) + source.to_bytes(4, "big") + destination.to_bytes(4, "big") + bytes(64)


def route_cost(count: int) -> float:
    """Microseconds that a packet is looked up in, by destination and by source, in a table of `count` clients.

    The packets of a batch go to clients all over the table.  The least of many repetitions counts.
    """
    table: RouteTable[str] = RouteTable()
    for number in range(count):
        table.add(IPv4Address(FIRST_ADDRESS + number), f"client {number}")
    chosen = random.Random(count)  # the same packets every time
    numbers = [chosen.randrange(count) for _ in range(BATCH)]
    packets = [_packet(FIRST_ADDRESS + numbers[0], FIRST_ADDRESS + number) for number in numbers]
    frames = [Frame(packet) for packet in packets]

    def route() -> None:
        table.split_by_peer(frames)
        table.check_sources(f"client {numbers[0]}", packets)

    return min(timeit.repeat(route, number=1, repeat=REPETITIONS)) / BATCH * 1e6


def routes() -> Figures:
    """The cost with few and many routes."""
    return {f"routes-{count}": route_cost(count) for count in ROUTES}
