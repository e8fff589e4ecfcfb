"""OpenVPN's options between lexer and settings: under their present names, and judged by the table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twistvpn.config.judge import judge
from twistvpn.config.options import ALIASES, OPTIONS, Scope, Treatment, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twistvpn.config.directive import Directive, Directives
    from twistvpn.wire.roles import Role


def modern(item: Directive) -> Directive | None:
    """The option under its present name; `setenv opt NAME ...` becomes an optional NAME.

    None for `ca [inline]`, which announces a block; `tls-auth [inline] 1` is a `key-direction`.
    """
    if item.name == "setenv" and item.args[:1] == ("opt",) and len(item.args) > 1:
        name = item.args[1]
        item = replace(item, name=name, args=item.args[2:], origin=replace(item.origin, option=name), optional=True)
    if item.name == "setenv" and item.args[:1] == ("SERVER_POLL_TIMEOUT",):
        item = replace(item, name="server-poll-timeout", args=item.args[1:])
    if item.name == "client-cert-not-required" and not item.args:
        item = replace(item, args=("none",))
    if item.args[:1] == ("[inline]",) and not item.inline:
        if len(item.args) == 1:
            return None
        if item.name == "tls-auth":
            return replace(item, name="key-direction", args=item.args[1:])
    return replace(item, name=ALIASES.get(item.name, item.name))


def tolerated(items: Iterable[Directive]) -> frozenset[str] | None:
    """Names that may be unknown (`ignore-unknown-option`); None for all of them (`setenv FORWARD_COMPATIBLE 1`)."""
    names: set[str] = set()
    for item in items:
        if item.name == "setenv" and item.args == ("FORWARD_COMPATIBLE", "1"):
            return None
        if item.name == "ignore-unknown-option":
            names.update(name.removeprefix("--") for name in item.args)
    return frozenset(names)


def screen(
    items: Iterable[Directive], directives: Directives, may_be_unknown: frozenset[str] | None
) -> Iterator[Directive]:
    """The options that are read into settings; the others leave a note or are refused, as the table says."""
    for item in items:
        option = OPTIONS.get(item.name)
        if option is None:
            if not (may_be_unknown is None or item.optional or item.name in may_be_unknown):
                raise item.error(f"unknown option{nearest(item.name, OPTIONS) or '; remove it'}")
            directives.note(item, "is unknown, and was allowed to be")
        elif option.scope is Scope.CLIENT:
            raise item.error("is for one client; write it into the client's file in client-config-dir")
        elif option.treatment is Treatment.REFUSED:
            raise item.error(f"is not supported: {option.reason}")
        elif option.treatment is Treatment.NO_EFFECT:
            directives.note(item, f"changes nothing here: {option.reason}")
        elif option.treatment is Treatment.JUDGED:
            directives.note(item, f"changes nothing here: {judge(item)}")
        elif item.name != "ignore-unknown-option":
            check_arguments(item)
            yield item


def check_arguments(item: Directive) -> None:
    """Raise `ConfigError` where an option that is read has not the number of arguments that it takes."""
    option = OPTIONS[item.name]
    least, most = option.arguments
    if item.inline:
        if not option.inline:
            raise item.error("cannot be an inline block; write it on one line")
        return
    if not least <= len(item.args) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        plural = "argument" if wanted == "1" else "arguments"
        raise item.error(f"takes {wanted} {plural}, this has {len(item.args)}")


def check_roles(directives: Directives, role: Role) -> None:
    """Raise `ConfigError` for an option of the other role."""
    for item in directives.items:
        option = OPTIONS.get(item.name)
        if option is not None and option.role not in {None, role}:
            raise item.error(f"has no meaning for a {role.value}; remove it")
