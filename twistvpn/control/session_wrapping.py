"""What wraps the control packets of a session, by their key: what the two ends began with, or a dynamic key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.errors import AuthenticationFailure, KeyGone, UnknownKey
from twistvpn.wire.opcodes import KEY_ID_MASK

if TYPE_CHECKING:
    from collections.abc import Callable

    from twistvpn.crypto.wrapping import Wrapping
    from twistvpn.interfaces import Buffer
    from twistvpn.wire.packets import ControlPacket
    from twistvpn.wire.roles import Role


class SessionWrapping:
    """Wraps the packets of every key under `first`, until there is something else for those of later keys."""

    def __init__(self, first: Wrapping, role: Role) -> None:
        self.first = first
        self._role = role
        self._later = first
        self._export: Callable[[], bytes] | None = None
        """Gives what `_later` is to be made of as soon as it is needed."""

    def use_dynamic(self, export: Callable[[], bytes]) -> None:
        """Wrap the packets of every key but the first under one made of what `export` gives (`Wrapping.dynamic`).

        It is called before there is a second key, or not at all, and may raise `KeyGone`.
        """
        self._export = export

    def of(self, key_id: int) -> Wrapping:
        """What wraps the packets of one key; raises `UnknownKey` where TLS has ended that it was to come from."""
        if not key_id:
            return self.first
        if self._export is not None:
            # Not before it is needed: most sessions end before they renegotiate, and keyed ciphers are not for free.
            try:
                self._later = self.first.dynamic(self._export(), self._role)
            except KeyGone as error:
                raise UnknownKey(str(error)) from error
            self._export = None
        return self._later

    def unwrap(self, datagram: Buffer) -> ControlPacket:
        """Unwrap a control packet; raises `WireError`."""
        key_id = datagram[0] & KEY_ID_MASK if datagram else 0
        try:
            return self.of(key_id).unwrap(datagram)
        except AuthenticationFailure:
            if key_id or self._later is self.first:
                raise
            # OpenVPN 3 uses the dynamic key for everything once it has one, for the first key's messages too.
            return self._later.unwrap(datagram)
