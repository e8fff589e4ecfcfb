"""Options whose value decides whether they change nothing or cannot be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twistvpn.config.directive import Directive


def judge(directive: Directive) -> str:
    """Why the option has no effect; raises `ConfigError` where it would have one that does not exist here."""
    return _JUDGES[directive.name](directive)


def _key_method(directive: Directive) -> str:
    if directive.args == ("2",):
        return "it is the only key method"
    raise directive.error("only key method 2 exists; remove it")


def _username_field(directive: Directive) -> str:
    if directive.args == ("CN",):
        return "the common name is the name of a client anyway"
    raise directive.error("only the common name (CN) names a client; remove it")


def _socket_flags(directive: Directive) -> str:
    if set(directive.args) <= {"TCP_NODELAY"}:
        return "TCP_NODELAY is always set"
    raise directive.error("the only flag is TCP_NODELAY, which is always set; remove it")


_JUDGES: dict[str, Callable[[Directive], str]] = {
    "key-method": _key_method,
    "socket-flags": _socket_flags,
    "x509-username-field": _username_field,
}
