"""What an admin wants pushed: options in OpenVPN's syntax, handed on as they are where they can travel."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from twistvpn.config.framing import check_compression
from twistvpn.config.options import ALIASES, OPTIONS, nearest
from twistvpn.config.values import is_netmask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.config.directive import Directive

_LONGEST = 255
"""Bytes; a longer option does not fit the buffer of stock clients."""


def pushed_option(directive: Directive, topology: str) -> str:
    """The option that `push` names; `topology` is the server's.

    What the server does not know is handed on: the client may.
    """
    option = directive.args[0].strip()
    if not option:
        raise directive.error("there is nothing to push")
    if "," in option or not option.isprintable():
        raise directive.error(f"{option!r} has a comma or a control character, which ends an option on the wire")
    if len(option.encode()) > _LONGEST:
        raise directive.error(f"the option is longer than {_LONGEST} bytes")
    words = option.split()
    if words[0] == "topology" and words[1:] != [topology]:
        raise directive.error(f"the server's topology is {topology}; remove it")
    if words[0] == "route" and len(words) > 1 and "/" in words[1]:
        _refuse_bits(directive, words[1])
    if words[0] == "route" and len(words) > 2:
        _refuse_netmask(directive, words[2])
    if words[0] in {"comp-lzo", "compress"}:
        check_compression(directive, words)
    # To all others that is the same, but OpenVPN 3 must have the word.
    return "compress stub" if words == ["compress"] else option


def _refuse_bits(directive: Directive, text: str) -> None:
    """Refuse a network in the way that our own options have it: no client reads it so in a pushed route."""
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        raise directive.error(f"{text!r} is not an IPv4 address") from None
    raise directive.error(f"{text!r} is not read by clients; write route {network.network_address} {network.netmask}")


def _refuse_netmask(directive: Directive, text: str) -> None:
    """Refuse what is an address and no netmask; clients refuse it, each in its own way."""
    try:
        netmask = IPv4Address(text)
    except ValueError:
        return
    if int(netmask) and not is_netmask(netmask):
        raise directive.error(f"{text} is not a netmask; write one as 255.255.255.0")


def pushed_doubt(option: str) -> str | None:
    """What an admin should know of an option that no peer of OpenVPN 2.4 to 2.7 knows, or none may obey; else None."""
    name, *words = option.split()
    if ALIASES.get(name, name) in OPTIONS:
        return _route_doubt(words) if name == "route" else None
    return f"{name} is unknown, clients may pass it over{nearest(name, OPTIONS)}"


def _route_doubt(words: Sequence[str]) -> str | None:
    try:
        meant = IPv4Network("/".join(words[:2]), strict=False)
        if IPv4Address(words[0]) == meant.network_address:
            return None
    except (ValueError, IndexError):
        return None
    return f"{words[0]} is an address inside a network, clients may refuse it; the network is {meant.network_address}"
