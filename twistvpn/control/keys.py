"""The control channel's keys, from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.settings import ControlWrapping
from twistvpn.crypto.clientkey import ClientKey
from twistvpn.crypto.statickey import KeyDirection, StaticKey
from twistvpn.crypto.wrapping import ControlKey
from twistvpn.errors import ConfigError
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.config.settings import ControlSettings


def control_key(settings: ControlSettings, role: Role) -> ControlKey:
    """How `settings` want control packets protected; for a server, those of clients without a key of their own.

    Raises `ConfigError` for a key that is none.
    """
    if settings.crypt_v2 is not None and role is Role.CLIENT:
        return ControlKey.tls_crypt_v2(ClientKey.from_text(settings.crypt_v2.data))
    if settings.wrapping is ControlWrapping.NONE or settings.key is None:
        if settings.crypt_v2 is not None:
            # A server of many has `server.control_keys`; taking this for "no protection" would be the worst answer.
            raise ConfigError(
                "only a server of several clients can tell them by keys of their own", option="tls-crypt-v2"
            )
        return ControlKey.plain()
    key = StaticKey.from_text(settings.key.data)
    if settings.wrapping is ControlWrapping.TLS_CRYPT:
        return ControlKey.tls_crypt(key, role)
    return ControlKey.tls_auth(key, KeyDirection.from_option(settings.key_direction), settings.auth)
