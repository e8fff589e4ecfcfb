"""Options about names and passwords: what a server hands out in their place, and what a client shows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from twistvpn.config.material import read_credentials, read_material
from twistvpn.config.settings import AuthTokenSettings, ClientSettings, LoginSettings, StaticChallenge
from twistvpn.config.values import choice, seconds
from twistvpn.crypto.authtoken import TokenSecret
from twistvpn.errors import ConfigError
from twistvpn.wire.challenges import BLANK_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twistvpn.config.directive import Directive, Directives
    from twistvpn.config.settings import Material

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

NAMES_FILE = "file"
"""The kind of cred plugin that reads names and passwords from a file."""

ADD_AUTHENTICATOR = "add auth = file:PASSWORDS to [server], which INI syntax alone has"
"""The mend where names and passwords are wanted and nobody looks at them."""

_YES = "yes"
"""INI's `auth-gen-token = yes` is the option without arguments."""


def authenticator(directives: Directives, item: Directive) -> str:
    """The description of a cred plugin; the path in `file:PATH` is taken from the configuration's directory."""
    kind, _, path = item.args[0].partition(":")
    if kind != NAMES_FILE:
        return item.args[0]
    if not path.strip():
        raise item.error("names no file; write file:PATH")
    full = directives.path(path)
    try:
        # cred opens it for each login, and calls every password wrong where it cannot.
        os.close(os.open(full, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise item.error(f"cannot read {full}: {error.strerror}") from None
    if not os.path.isfile(full):  # noqa: PTH113 - text in, text out
        raise item.error(f"{full} is no file")
    for doubt in _password_doubts(full):
        directives.note(item, doubt)
    return f"{kind}:{full}"


def _password_doubts(path: str) -> Iterator[str]:
    """What cred makes in silence of lines that are not NAME:PASSWORD; the lines themselves may be secrets."""
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        if line.startswith(b"#") or not line.strip():
            continue
        colons = line.rstrip().count(b":")
        if colons != 1:
            meant = "nobody comes in by it" if not colons else "the password ends at the second colon"
            yield f"line {number} of {path} is not NAME:PASSWORD, {meant}"


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


def read_login(directives: Directives) -> LoginSettings | None:
    """`auth-user-pass [FILE | username-only]` or its block, with `static-challenge` and `auth-nocache`."""
    directive, challenge = directives.last("auth-user-pass"), directives.last("static-challenge")
    if directive is None:
        if challenge is not None:
            raise challenge.error("goes with a password; add auth-user-pass")
        return None
    static = None if challenge is None else _static_challenge(challenge)
    cache = "auth-nocache" not in directives
    if not directive.inline and directive.args == ("username-only",):
        if challenge is not None:
            raise challenge.contradiction(directive)
        return LoginSettings(None, BLANK_PASSWORD, cache=cache)
    if not directive.inline and directive.args in {(), ("stdin",)}:
        return LoginSettings(cache=cache, static_challenge=static)
    username, password = read_credentials(directives, directive)
    if cache or directive.inline:
        return LoginSettings(username, password, cache=cache, static_challenge=static)
    return LoginSettings(path=directives.path(directive.args[0]), cache=cache, static_challenge=static)


def _static_challenge(directive: Directive) -> StaticChallenge:
    """`static-challenge TEXT ECHO [scrv1 | concat]`."""
    echo = choice(directive, directive.args[1], "0", "1") == "1"
    scheme = choice(directive, directive.args[2], "scrv1", "concat") if len(directive.args) > 2 else "scrv1"
    return StaticChallenge(directive.args[0], echo, scheme == "concat")


def read_auth_retry(directives: Directives) -> str:
    """What follows on AUTH_FAILED."""
    directive = directives.last("auth-retry")
    if directive is None:
        return ClientSettings.auth_retry
    return choice(directive, directive.args[0], "none", "nointeract", "interact")


def read_environment(directives: Directives) -> dict[str, str]:
    """What `setenv` adds to what a server is told of its client; a note for each of the others."""
    values: dict[str, str] = {}
    for directive in directives.every("setenv"):
        name, value = (*directive.args, "")[:2]
        if name == "GENERIC_CONFIG":
            raise directive.error("this is a generic profile for many users; get the one made for you")
        if not name.startswith("UV_") and name not in {"IV_GUI_VER", "IV_SSO", "IV_PLAT_VER"}:
            directives.note(directive, "changes nothing here: no script is run that would see it")
        elif not _NAME.fullmatch(name) or not value.isprintable():
            raise directive.error(f"{name!r} is not a name that a server understands, or its value cannot be printed")
        else:
            values[name] = value
    return values
