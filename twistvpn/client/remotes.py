"""Which server a client tries next, and how long it waits before."""

from __future__ import annotations

import random
from enum import Enum, auto
from typing import TYPE_CHECKING

from twistvpn.link.addresses import readable
from twistvpn.link.proxies import ProxyRefusal

if TYPE_CHECKING:
    from twistvpn.config.settings import ClientSettings, Proxy, Remote


def proxy_name(proxy: Proxy, host: str = "") -> str:
    """A proxy for people: 'http-proxy 192.0.2.7:3128', at the address `host` if that is known."""
    return f"{proxy.kind.value} {readable((host or proxy.host, proxy.port))}"


def out_of_reach(remote: Remote, error: BaseException | None) -> str:
    """Who has not been reached, for people: the server, or the proxy to it unless that has answered."""
    if remote.proxy is None:
        return remote.host
    name = proxy_name(remote.proxy)
    return f"{remote.host} via {name}" if isinstance(error, ProxyRefusal) else name


class Ending(Enum):
    """What the end of a connection, or of the attempt at one, means for the client."""

    RETRY = auto()
    """Try again, this server or the next."""
    SAME = auto()
    """Try this server again, at this address: it has heard us and wants something else from us."""
    ADDRESS = auto()
    """Try the next address of this server, or the next server where it has no other."""
    NEXT = auto()
    """Try the next server: this one has sent us there."""
    FATAL = auto()
    """Trying again would end the same way."""


class RemoteList:
    """Goes round the configured servers; each round without success doubles the wait, up to a bound.

    `hosts` are the addresses of the current server that are still to be tried, `host` the one that is tried now.
    """

    def __init__(self, settings: ClientSettings, rng: random.Random | None = None) -> None:
        self.hosts: list[str] = []
        self.host = ""
        self._remotes = list(settings.remotes)
        self._first_wait, self._longest_wait = settings.connect_retry
        self._rounds = self._rounds_left = settings.connect_retry_max
        self._wait = self._first_wait
        self._next = 0
        self._connected = False
        self._rng = rng or random.Random()  # noqa: S311 - it spreads load, it guards nothing
        if settings.remote_random:
            self._rng.shuffle(self._remotes)

    def current(self) -> Remote:
        """The server to try now."""
        return self._remotes[self._next]

    @property
    def way(self) -> str:
        """The server that is tried, for people: by its address, or by its name and the proxy to it."""
        remote = self.current()
        if remote.proxy is None:
            return self.host
        return f"{readable((remote.host, remote.port))} via {proxy_name(remote.proxy, self.host)}"

    def take_host(self) -> str:
        """Go on to the first of `hosts`."""
        self.host = self.hosts.pop(0)
        return self.host

    def advance(self) -> None:
        """Go on to the next server."""
        self._next = (self._next + 1) % len(self._remotes)

    def succeeded(self) -> None:
        """A server has let us in: the next failure starts with a short wait, and all rounds, again."""
        self._connected = True
        self._wait = self._first_wait
        self._rounds_left = self._rounds

    def ended(self, ending: Ending, least: float = 0.0) -> float | None:
        """Choose what is tried after this end; returns the seconds to wait, `least` where the settings allow as much.

        A server that had let us in is tried first again, then its other addresses, then the next server.  None when
        every round that `connect-retry-max` allows has been made.
        """
        wait = self._wait_after(ending)
        return wait if wait is None else max(wait, min(least, self._longest_wait))

    def _wait_after(self, ending: Ending) -> float | None:
        was_connected, self._connected = self._connected, False
        if ending is Ending.SAME and self.host:
            self.hosts.insert(0, self.host)
            return self._first_wait if was_connected else self._round()
        if ending is Ending.NEXT or (was_connected and ending is not Ending.ADDRESS):
            self.hosts.clear()
        if self.hosts:
            return self._first_wait
        if not was_connected:
            return self.failed()
        if ending in {Ending.NEXT, Ending.ADDRESS}:
            self.advance()
        return self._first_wait

    def failed(self) -> float | None:
        """The current server could not be reached: the seconds to wait before trying the next."""
        self.advance()
        return self._first_wait if self._next else self._round()

    def _round(self) -> float | None:
        if self._rounds_left is not None:
            self._rounds_left -= 1
            if self._rounds_left <= 0:
                return None
        wait, self._wait = self._wait, min(self._wait * 2, self._longest_wait)
        # A thousand clients of a server that comes back should not all knock in the same second.
        return wait * self._rng.uniform(1.0, 1.25)
