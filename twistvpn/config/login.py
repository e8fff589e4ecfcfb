"""Options about names and passwords: what a server hands out in their place, and what a client shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.material import read_material
from twistvpn.config.settings import AuthTokenSettings
from twistvpn.config.values import choice, seconds
from twistvpn.crypto.authtoken import TokenSecret
from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives
    from twistvpn.config.settings import Material

_YES = "yes"
"""INI's `auth-gen-token = yes` is the option without arguments."""


def read_auth_tokens(directives: Directives) -> AuthTokenSettings | None:
    """`auth-gen-token [lifetime [renewal]] [external-auth]` and its secret; None without tokens."""
    directive, secret = directives.last("auth-gen-token"), directives.last("auth-gen-token-secret")
    if directive is None:
        if secret is not None:
            directives.note(secret, "changes nothing here: it belongs to auth-gen-token, which is not there")
        return None
    words = [word for word in directive.args if word != _YES]
    external = words[-1:] == ["external-auth"]
    if external:
        words.pop()
    if len(words) > 2:
        choice(directive, words[2], "external-auth")
    lifetime, renewal = (*(seconds(directive, word) for word in words), 0.0, 0.0)[:2]
    reneg = directives.last("reneg-sec")
    if not renewal and reneg is not None and not seconds(reneg, reneg.args[0]):
        raise directive.error("needs a renewal time where reneg-sec is 0; use auth-gen-token 0 3600")
    return AuthTokenSettings(lifetime, renewal, external, None if secret is None else _secret(directives, secret))


def _secret(directives: Directives, directive: Directive) -> Material | None:
    if not directive.args:
        return None
    material = read_material(directives, directive)
    try:
        TokenSecret.from_text(material.data)
    except ConfigError as error:
        raise directive.error(f"{error.message}; make one with openvpn --genkey auth-token FILE") from None
    return material
