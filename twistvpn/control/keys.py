"""The control channel's static key, from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.settings import ControlWrapping
from twistvpn.crypto.statickey import KeyDirection, StaticKey
from twistvpn.crypto.wrapping import ControlKey

if TYPE_CHECKING:
    from twistvpn.config.settings import ControlSettings
    from twistvpn.wire.roles import Role


_DIRECTIONS = {None: KeyDirection.BIDIRECTIONAL, 0: KeyDirection.NORMAL, 1: KeyDirection.INVERSE}


def control_key(settings: ControlSettings, role: Role) -> ControlKey:
    """How `settings` want control packets protected.  Raises `ConfigError` for a key that is none."""
    if settings.wrapping is ControlWrapping.NONE or settings.key is None:
        return ControlKey.plain()
    key = StaticKey.from_text(settings.key.data)
    if settings.wrapping is ControlWrapping.TLS_CRYPT:
        return ControlKey.tls_crypt(key, role)
    return ControlKey.tls_auth(key, _DIRECTIONS[settings.key_direction], settings.auth)
