"""Makes `vpn` a command of twistd."""

from typing import Any

from twisted.application.service import ServiceMaker

from twistvpn.interrupts import end_quietly


class _Vpn(ServiceMaker):
    """What it names takes a moment to load, in which somebody may think better of it."""

    @property
    def options(self) -> Any:
        end_quietly()
        return super().options


vpn = _Vpn("vpn", "twistvpn.tap", "OpenVPN server or client: --config FILE", "vpn")
