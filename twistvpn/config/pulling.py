"""What a client makes of the options that its server pushes, and those of the same kind that it has itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.values import choice
from twistvpn.errors import MalformedPacket
from twistvpn.wire.dns import read_dns

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives

_REDIRECT_FLAGS = ("local", "autolocal", "def1", "bypass-dhcp", "bypass-dns", "block-local", "ipv6", "!ipv4")


def read_pull_filters(directives: Directives) -> tuple[tuple[str, str], ...]:
    """`pull-filter accept|ignore|reject TEXT`, in order."""
    return tuple(
        (choice(item, item.args[0], "accept", "ignore", "reject"), _beginning(item))
        for item in directives.every("pull-filter")
    )


def _beginning(directive: Directive) -> str:
    if len(directive.args) != 2:
        raise directive.error('is written accept, ignore or reject, and "the beginning of options"')
    return directive.args[1]


def read_redirect(directives: Directives) -> tuple[str, ...] | None:
    """The flags of `redirect-gateway` and `redirect-private` together; None where neither is there."""
    items = [item for item in directives.items if item.name in {"redirect-gateway", "redirect-private"}]
    if not items:
        return None
    flags = [choice(item, flag, *_REDIRECT_FLAGS) for item in items for flag in item.args]
    if all(item.name == "redirect-private" for item in items):
        flags.append("!ipv4")
    return tuple(dict.fromkeys(flags))


def read_own_dns(directives: Directives) -> tuple[str, ...]:
    """`dns` and `dhcp-option`, in order and as pushed ones are written."""
    options = []
    for item in directives.items:
        if item.name not in {"dns", "dhcp-option"}:
            continue
        option = " ".join([item.name, *item.args])
        try:
            read_dns([option])
        except (ValueError, MalformedPacket) as error:
            raise item.error(str(error)) from None
        options.append(option)
    return tuple(options)
