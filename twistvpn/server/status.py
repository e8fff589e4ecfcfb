"""The status file, in the format that tools for stock OpenVPN read (`status-version 1`)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from twistvpn.data.bridge import MacTable
from twistvpn.data.vlan import VlanTable
from twistvpn.link.addresses import readable
from twistvpn.wire.options import printable

if TYPE_CHECKING:
    from twistvpn.server.connection import ServerConnection
    from twistvpn.server.factory import VpnFactory


def format_status(factory: VpnFactory, now: float) -> str:
    """Who is connected, with what counters, and what was dropped; `now` in seconds since the epoch."""
    connected = [connection for connection in factory.connections.values() if connection.lease is not None]
    lines = [
        "OpenVPN CLIENT LIST",
        f"Updated,{_time(now)}",
        "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since",
        *(_client(connection) for connection in connected),
        "ROUTING TABLE",
        "Virtual Address,Common Name,Real Address,Last Ref",
        *(line for connection in connected for line in _routes(factory, connection)),
        "GLOBAL STATS",
        *(f"Dropped {reason},{count}" for reason, count in sorted(dropped(factory).items())),
        "END",
    ]
    return "\n".join(lines) + "\n"


def dropped(factory: VpnFactory) -> dict[str, int]:
    """Every packet that was dropped, by reason, over the factory, the peers it has now and the links."""
    total = factory.drops + factory.demux.drops + factory.routes.drops + factory.past_drops
    for peer in factory.connections:
        total += peer.drops + peer.channel.drops
    for link in {*factory.udp_links, *(peer.link for peer in factory.connections)}:
        total += link.drops
    return dict(total)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def _name(connection: ServerConnection) -> str:
    """The identity as one field of one line."""
    return printable(connection.identity or "").replace(",", "_")


def _client(connection: ServerConnection) -> str:
    channel = connection.peer.channel
    return ",".join(
        [
            _name(connection),
            readable(connection.peer.address),
            str(channel.bytes_in),
            str(channel.bytes_out),
            _time(connection.since),
        ]
    )


def _routes(factory: VpnFactory, connection: ServerConnection) -> list[str]:
    name, address = _name(connection), readable(connection.peer.address)
    if isinstance(factory.routes, MacTable | VlanTable):
        behind = factory.routes.behind(connection.peer)
        return [f"{station},{name},{address},{_time(seen)}" for station, seen in behind]
    heard = connection.peer.channel.last_received or connection.since
    return [
        f"{network},{name},{address},{_time(heard)}"
        for network in (*(connection.lease.addresses if connection.lease else ()), *connection.overrides.iroutes)
    ]
