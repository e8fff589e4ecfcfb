"""Session ids that let a server forget: a keyed hash (BLAKE2b) over who asked and when.

The server's answer to a client's first packet carries such a session id and nothing is kept.  The
client's next packet acknowledges it, which proves that it can receive at its address; only then is a
session made.  See the wire-protocol draft, section "Stateless three-way handshake".
"""

from __future__ import annotations

import hmac
import os
from hashlib import blake2b
from typing import TYPE_CHECKING

from twistvpn.wire.packets import SESSION_ID_SIZE

if TYPE_CHECKING:
    from twistvpn.interfaces import Address

_SLOTS_ACCEPTED = 3
"""The current time slot and the ones before it: a cookie lives from two to three slots."""


class CookieJar:
    """Makes and checks stateless session ids under a secret that only this process knows.

    `hand_window` is in seconds; a cookie is good for at least that long.
    """

    def __init__(self, hand_window: float, secret: bytes | None = None) -> None:
        self._slot = max(1.0, hand_window / (_SLOTS_ACCEPTED - 1))
        self._secret = os.urandom(blake2b.MAX_KEY_SIZE) if secret is None else secret

    def issue(self, address: Address, client_session_id: bytes, now: float) -> bytes:
        """The server session id (8 bytes) for this client at `now` (seconds)."""
        return self._at(address, client_session_id, int(now // self._slot))

    def accepts(self, session_id: bytes, address: Address, client_session_id: bytes, now: float) -> bool:
        """Whether `session_id` is one we issued to this client not too long ago."""
        slot = int(now // self._slot)
        return any(
            hmac.compare_digest(session_id, self._at(address, client_session_id, slot - age))
            for age in range(_SLOTS_ACCEPTED)
        )

    def _at(self, address: Address, client_session_id: bytes, slot: int) -> bytes:
        who = repr((address, slot)).encode() + client_session_id
        return blake2b(who, key=self._secret, digest_size=SESSION_ID_SIZE).digest()
