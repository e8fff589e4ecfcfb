"""How a client does, in the format of stock OpenVPN's status file for clients."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twistvpn.client.service import VpnClientService


def format_status(client: VpnClientService, now: float) -> str:
    """What the client is about, its counters, and what was dropped; `now` in seconds since the epoch."""
    peer = client.peer
    channel = None if peer is None else peer.channel
    lines = [
        "OpenVPN STATISTICS",
        f"Updated,{datetime.fromtimestamp(now).astimezone():%Y-%m-%d %H:%M:%S}",
        f"State,{client.state.name}",
        f"TCP/UDP read bytes,{channel.bytes_in if channel else 0}",
        f"TCP/UDP write bytes,{channel.bytes_out if channel else 0}",
        *(f"Dropped {reason},{count}" for reason, count in sorted(dropped(client).items())),
        "END",
    ]
    return "\n".join(lines) + "\n"


def dropped(client: VpnClientService) -> dict[str, int]:
    """Every packet that was dropped, by reason, over the client, its present connection and the link."""
    total = Counter(client.drops)
    if client.peer is not None:
        total += client.peer.drops + client.peer.channel.drops + client.peer.link.drops
    return dict(total)
