"""Makes `vpn` a command of twistd."""

import sys
from typing import Any

from twisted.application.service import ServiceMaker

from twistvpn.compiled import Unavailable
from twistvpn.interrupts import end_quietly


class _Vpn(ServiceMaker):
    """What it names takes a moment to load, in which somebody may think better of it."""

    @property
    def options(self) -> Any:
        end_quietly()
        try:
            return super().options
        except Unavailable as error:
            sys.exit(f"Error: {error}")


vpn = _Vpn("vpn", "twistvpn.tap", "OpenVPN server or client: --config FILE", "vpn")
