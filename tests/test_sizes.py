"""What a link leaves of a packet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from twistvpn.data.channel import Channel
from twistvpn.interfaces import ILink
from twistvpn.sizes import largest_packet

UDP = 8


@pytest.mark.parametrize(
    ("host", "relay", "ip_header"),
    [
        ("192.0.2.1", None, 20),
        ("::ffff:192.0.2.1", None, 20),
        ("2001:db8::1", None, 40),
        ("192.0.2.1", "2001:db8::9", 40),
        ("2001:db8::1", "192.0.2.9", 20),
    ],
)
def test_the_ip_header_is_that_of_the_way_to_the_relay(host: str, relay: str | None, ip_header: int) -> None:
    channel = SimpleNamespace(framing=None, largest_packet=lambda size, _now: size)
    link = SimpleNamespace(is_stream=False, header_size=10, relay=relay)
    largest = largest_packet(cast("Channel", channel), cast("ILink", link), (host, 1194), 1500, 0.0)
    assert largest == 1500 - ip_header - UDP - 10
