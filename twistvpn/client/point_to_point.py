"""The TLS client's end of point-to-point mode: what the admin has written, and what the two ends have agreed on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twistvpn.control.push import parse_pushed
from twistvpn.point_to_point import come_to_terms
from twistvpn.wire.options import parse_peer_info
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from twistvpn.config.settings import PointToPoint, Settings
    from twistvpn.control.push import PushedOptions
    from twistvpn.control.session import KeyEstablished


def agreed_options(
    settings: Settings, mode: PointToPoint, event: KeyEstablished, export: Callable[[bytes, int], bytes]
) -> PushedOptions:
    """What a server would have pushed; raises `NegotiationError`."""
    info = parse_peer_info(event.remote.peer_info)
    accord = come_to_terms(Role.CLIENT, settings.data, info, event.remote.options, export)
    return replace(
        parse_pushed(mode.options, settings.device.dev_type),
        cipher=accord.terms.cipher,
        exporter_keys="tls-ekm" in accord.flags,
        peer_id=accord.terms.peer_id,
        protocol_flags=accord.flags,
    )
