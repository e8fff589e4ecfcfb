"""What to say of a server that does not answer: it cannot say itself that our key is another one than its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.settings import ControlWrapping
from twistvpn.link.connections import cancel
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twistvpn.config.settings import ControlSettings
    from twistvpn.peer import Peer

PATIENCE = 10.0
"""Seconds: as long as about four tries take."""


class Unanswered:
    """Tells once, soon or at the latest when one try ends, what may be wrong where no answer has come to it."""

    log = Logger()

    def __init__(self, peer: Peer, server: str, control: ControlSettings, clock: IReactorTime) -> None:
        """`server` is what people call `peer`."""
        self._peer = peer
        self._server = server
        self._control = control
        self._has_told = False
        self._timer = clock.callLater(PATIENCE, self._tell)

    def ended(self) -> None:
        """This try is over."""
        cancel(self._timer)
        self._tell()

    def abandon(self) -> None:
        """This try is no longer wanted."""
        cancel(self._timer)

    def _tell(self) -> None:
        if self._has_told or self._peer.session.remote_session_id is not None:
            return
        self._has_told = True
        self.log.warn(
            "no answer from {server}: is a server there, does every firewall let us through, and {key}?",
            server=self._server,
            key=_question(self._control),
        )


def _question(control: ControlSettings) -> str:
    if control.crypt_v2 is not None:
        return "is our tls-crypt-v2 key made from the server's"
    if control.wrapping is ControlWrapping.NONE:
        return "does it want no tls-crypt or tls-auth key"
    return f"does it have the {control.wrapping.value} key that we have"
