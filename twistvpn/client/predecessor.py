"""The connection before the present one, while it still carries packets.

When a renegotiation has failed over datagrams, the session cannot be mended, but its last key lives until the
transition window ends.  Stock clients begin a new session beside it and go on under the old key until the new
session stands; so do we.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from twistvpn.client.connection import ClientConnection
    from twistvpn.client.host import ClientHost
    from twistvpn.client.login import Login
    from twistvpn.client.remotes import Ending
    from twistvpn.control.push import PushedOptions
    from twistvpn.interfaces import Frame, ILink


class Successor(Protocol):
    """The client service, as a connection sees it that has been left behind."""

    own_certificate: x509.Certificate | None
    login: Login
    host: ClientHost

    def predecessor_ended(self) -> None:
        """It carries nothing any more."""


class Predecessor:
    """Owns a connection in the service's place (`connection.ConnectionOwner`) until that has another."""

    def __init__(self, successor: Successor, connection: ClientConnection, link: ILink) -> None:
        self.own_certificate = successor.own_certificate
        self.login = successor.login
        self.host = successor.host
        self._successor = successor
        self._connection = connection
        self._link = link
        connection.hand_over(self)

    def send_frames(self, frames: Sequence[Frame]) -> None:
        """Send packets as long as there is no other way for them."""
        self._connection.peer.send_frames(frames)

    def retire(self) -> None:
        """Say goodbye in data, as it has no control channel left: the new connection stands, or there will be none."""
        peer = self._connection.peer
        if self._connection.goodbyes:
            peer.say_goodbye()
        peer.close("another session has taken its place")

    # What the connection reports (`connection.ConnectionOwner`)

    def connected(self, pushed: PushedOptions) -> None:
        """It has been connected all along."""

    def updated(self, pushed: PushedOptions) -> None:
        """The options that count are those of the session to come."""

    def link_broken(self) -> None:
        """It has been answered long ago."""

    def renegotiation_failed(self, reason: str) -> None:
        """It has failed already, or there would be no predecessor."""

    def connection_ended(self, reason: str, ending: Ending, least_wait: float) -> None:
        """See `ConnectionOwner`; whatever the reason, the service is about another connection already."""
        self._link.close()
        self._successor.predecessor_ended()
