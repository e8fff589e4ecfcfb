"""Which strangers may begin a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.errors import AuthenticationRejected
from twistvpn.link.addresses import readable
from twistvpn.server.limits import FrequencyLimit
from twistvpn.server.point_to_point import addresses_of, comes_from
from twistvpn.verbosity import Logger
from twistvpn.wire.options import printable

if TYPE_CHECKING:
    from collections import Counter

    from twistvpn.config.settings import Settings
    from twistvpn.crypto.wrapping import Wrapping
    from twistvpn.interfaces import Address, ILink
    from twistvpn.server.control_keys import ControlKeyring
    from twistvpn.server.demux import Demux

_REFUSALS_TOLD_EVERY = 10.0
"""Seconds between two lines about clients whose tls-crypt-v2 key is refused."""


class Gate:
    """Turns strangers away, not a word to them, and counts them by reason in `drops`.

    The log tells once where it may: strangers knock as often as they like.  Raises `EnvironmentRefusal` where a
    `remote` of point-to-point mode does not resolve.
    """

    log = Logger()

    def __init__(self, settings: Settings, keyring: ControlKeyring, demux: Demux, drops: Counter[str]) -> None:
        assert settings.server is not None
        mode, freq = settings.point_to_point, settings.server.connect_freq
        self._server = settings.server
        self._keyring = keyring
        self._demux = demux
        self._drops = drops
        self._remotes = addresses_of(mode.remotes if mode is not None else ())
        self._connect_freq = None if freq is None else FrequencyLimit(*freq)
        self._told_full = False
        self._told_refused_key = 0.0

    def lets_in(self, link: ILink, address: Address, wrapping: Wrapping, sessions: int, now: float) -> bool:
        """Whether a session may begin beside the `sessions` that there are; `now` in seconds since the epoch."""
        if not comes_from(address, self._remotes):
            self._drops["unknown-remote"] += 1
            return False
        if self._server.single_session and self._demux.is_taken(link, address):
            self._drops["single-session"] += 1
            return False
        return self._comes_in_time(now) and self._has_good_key(wrapping, address, now) and self._has_room(sessions)

    def _comes_in_time(self, now: float) -> bool:
        limit = self._connect_freq
        if limit is None or limit.allows(now):
            return True
        self._drops["connect-freq"] += 1
        if limit.refused == 1:
            self.log.warn("connect-freq ({limit}) exceeded: others are refused", limit=limit)
        return False

    def _has_good_key(self, wrapping: Wrapping, address: Address, now: float) -> bool:
        try:
            self._keyring.check(wrapping.key, address, now)
        except AuthenticationRejected as error:
            self._drops["client-key"] += 1
            if now >= self._told_refused_key + _REFUSALS_TOLD_EVERY:
                self._told_refused_key = now
                self.log.warn("{address}: refused: {why}", address=readable(address), why=printable(str(error)))
            return False
        return True

    def _has_room(self, sessions: int) -> bool:
        most = self._server.max_clients
        if sessions < most:
            return True
        self._drops["max-clients"] += 1
        if not self._told_full:
            self._told_full = True
            self.log.warn("max-clients ({most}) reached: others are refused", most=most)
        return False

    def session_ended(self) -> None:
        """There is room again: that there is none is worth another line."""
        self._told_full = False
