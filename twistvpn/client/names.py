"""Whom a client's host is to ask for names: what the server pushes and the configuration has, for who can set it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.errors import EnvironmentRefusal
from twistvpn.nameservers import DnsSettings
from twistvpn.verbosity import Logger
from twistvpn.wire.dns import read_dns

if TYPE_CHECKING:
    from twistvpn.config.settings import ClientSettings
    from twistvpn.control.push import PushedOptions
    from twistvpn.nameservers import IDnsConfigurator


class NameServers:
    """Hands name servers and domains to `configurator`; without one they are logged, for somebody else to set."""

    log = Logger()

    def __init__(self, client: ClientSettings, configurator: IDnsConfigurator | None) -> None:
        self._client = client
        self._configurator = configurator
        self._applied = DnsSettings()

    def apply(self, ifname: str, pushed: PushedOptions) -> None:
        """Apply what was pushed and what is our own; the same again changes nothing."""
        settings = read_dns([*self._client.dns, *(() if self._client.route_nopull else pushed.dns)])
        if settings == self._applied:
            return
        self.undo()
        if settings == DnsSettings():
            return
        self._applied = settings
        if self._configurator is None:
            self.log.info("{wish}; this host's resolver is left as it is", wish=describe(settings))
            return
        try:
            self._configurator.apply(ifname, settings)
        except EnvironmentRefusal as error:
            self.log.warn("{error}", error=error)
        else:
            self.log.info("{wish}", wish=describe(settings))

    def undo(self) -> None:
        """Take back what was applied."""
        if self._configurator is not None and self._applied != DnsSettings():
            self._configurator.undo()
        self._applied = DnsSettings()


def describe(settings: DnsSettings) -> str:
    """The settings in one line."""
    words = []
    for server in settings.servers:
        addresses = ", ".join(
            str(address) if port is None else f"{address} port {port}" for address, port in server.addresses
        )
        what = f"names in {' '.join(server.domains)}" if server.domains else "names"
        words.append(f"{what} are to be resolved by {addresses}")
    if settings.search_domains:
        words.append(f"search domains are to be {' '.join(settings.search_domains)}")
    return "; ".join(words)
