"""The times of one peer: when it is pinged, when it counts as gone, when its keys are renegotiated.

Times are seconds of one clock.  What happens at them is `peer.Peer`'s affair.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from twistvpn.config.settings import ControlSettings
    from twistvpn.data.channel import Channel


class Keepalive(NamedTuple):
    """The ping timers of one peer, in seconds; 0 is never."""

    ping: float
    ping_restart: float
    option: str = "ping-restart"
    """What has set the latter, for people."""


class Activity:
    """Payload that moves in either direction, pings left out, against `inactive SECONDS [BYTES]`."""

    __slots__ = ("_least", "_moved", "_seconds", "_since")

    def __init__(self, seconds: float, least: int, now: float) -> None:
        self._seconds = seconds
        self._least = least
        self._moved = 0
        self._since = now

    def moved(self, octets: int, now: float) -> None:
        """So many bytes have moved: with enough of them the time begins anew."""
        self._moved += octets
        if self._moved >= self._least:
            self._moved = 0
            self._since = now

    @property
    def ends(self) -> float:
        """When it has lasted too long."""
        return self._since + self._seconds


class PeerTimers:
    """Tells when something is due; the channel tells when data came and went."""

    __slots__ = (
        "_channel",
        "_control",
        "_expires",
        "_heard",
        "_not_before",
        "_pinged",
        "_renegotiate_at",
        "_session_ends",
        "activity",
        "keepalive",
    )

    def __init__(self, control: ControlSettings, channel: Channel, now: float) -> None:
        # Until it is known what it shall be, a hand-window's silence is the end.
        self.keepalive = Keepalive(0.0, control.hand_window, "hand-window")
        self._control = control
        self._channel = channel
        self._heard = self._pinged = now
        self._renegotiate_at: float | None = None
        self._not_before = 0.0
        """Until then a renegotiation that has failed is not tried again, whatever the newest key has done."""
        self._expires: float | None = None
        self._session_ends: float | None = None
        self.activity: Activity | None = None
        """Told of what moves, where `inactive` is asked for."""

    # What has happened

    def limit(self, inactive: float, inactive_bytes: int, session_timeout: float, now: float) -> None:
        """Begin to count what ends a session that is in order; 0 seconds is never."""
        self.activity = Activity(inactive, inactive_bytes, now) if inactive else None
        self._session_ends = now + session_timeout if session_timeout else None

    def control_heard(self, now: float) -> None:
        """A control packet of the peer's was taken."""
        self._heard = now

    def pinged(self, now: float) -> None:
        """A ping is about to leave."""
        self._pinged = now

    def key_installed(self, now: float) -> None:
        """A data key has been installed: its successor's time begins."""
        control = self._control
        self._expires = None
        self._not_before = 0.0
        age = control.reneg_sec - random.uniform(0, control.reneg_jitter)  # noqa: S311 - it spreads load, it guards nothing
        self._renegotiate_at = now + age if control.reneg_sec else None

    def renegotiated(self) -> None:
        """A renegotiation was begun: the next waits for its key."""
        self._renegotiate_at = None

    def renegotiation_failed(self, began: float, now: float) -> None:
        """The key in use is about to run out, unless another try after a hand-window comes to something."""
        self._renegotiate_at = self._not_before = now + self._control.hand_window
        if self._expires is None:
            self._expires = began + self._control.tran_window

    # What is due

    @property
    def overlap(self) -> float:
        """Seconds from the beginning of a renegotiation in which the key before sends on, as in stock peers."""
        control = self._control
        return min(control.hand_window, control.reneg_sec / 2) if control.reneg_sec else control.hand_window

    def deadline(self) -> float | None:
        """When something is due if nothing else happens; None for never."""
        times = [when for when in (self._renegotiate_at, self._expires, self._session_ends) if when is not None]
        if self.activity is not None:
            times.append(self.activity.ends)
        if self.keepalive.ping:
            times.append(self._last_sent() + self.keepalive.ping)
        if self.keepalive.ping_restart:
            times.append(self.last_heard + self.keepalive.ping_restart)
        return min(times, default=None)

    def is_silent(self, now: float) -> bool:
        """Whether the peer has not been heard for as long as the keepalive allows."""
        most = self.keepalive.ping_restart
        return bool(most) and now - self.last_heard >= most

    def has_expired(self, now: float) -> bool:
        """Whether the last key has served its time."""
        return self._expires is not None and now >= self._expires

    def parting(self, now: float) -> str | None:
        """Why a session that is in order has lasted long enough; None while it has not.  Told once."""
        if self._session_ends is not None and now >= self._session_ends:
            reason = "the session has lasted long enough (session-timeout)"
        elif self.activity is not None and now >= self.activity.ends:
            reason = "too little has moved for too long (inactive)"
        else:
            return None
        self._session_ends = self.activity = None
        return reason

    def wants_ping(self, now: float) -> bool:
        """Whether nothing was sent for so long that a ping is due."""
        return bool(self.keepalive.ping) and now >= self._last_sent() + self.keepalive.ping

    def wants_new_key(self, now: float) -> bool:
        """Whether the newest key is to be renegotiated, for its age or for what it has done."""
        if now < self._not_before:
            return False
        return self._channel.must_renegotiate or (self._renegotiate_at is not None and now >= self._renegotiate_at)

    @property
    def worn_key_due(self) -> float | None:
        """When a key that has done all it may is to be renegotiated; None while the newest is good."""
        return self._not_before if self._channel.must_renegotiate else None

    @property
    def last_heard(self) -> float:
        """When anything of the peer's came last."""
        return max(self._heard, self._channel.last_received or 0.0)

    def _last_sent(self) -> float:
        return max(self._pinged, self._channel.last_sent or 0.0)
