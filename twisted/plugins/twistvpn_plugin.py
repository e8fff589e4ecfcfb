"""Makes `vpn` a command of twistd."""

from twisted.application.service import ServiceMaker

vpn = ServiceMaker("vpn", "twistvpn.tap", "OpenVPN server or client: --config FILE", "vpn")
