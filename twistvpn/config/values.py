"""Values of options: each function takes the option for its place, and the text; a bad text is a `ConfigError`."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives

_DECIMAL = re.compile(r"\d+(\.\d+)?", re.ASCII)
_INTEGER = re.compile(r"\d+", re.ASCII)
_INTERFACE = re.compile(r"[^\s/:]{1,15}", re.ASCII)
"""What the kernel takes as the name of an interface (dev_valid_name in net/core/dev.c)."""
_LABEL = re.compile(r"[\w-]{1,63}")
_NUMBERS = re.compile(r"[\d.]*[\d.]", re.ASCII)
MAX_INTEGER = 2**31 - 1
MAX_COUNT = 2**63 - 1
"""What stock peers take for a number of bytes or packets."""


def integer(directive: Directive, text: str, least: int = 0, most: int = MAX_INTEGER) -> int:
    """A decimal integer from `least` to `most`."""
    if not _INTEGER.fullmatch(text) or len(text) > 19 or not least <= int(text) <= most:
        limit = f" of at least {least}" if most in {MAX_INTEGER, MAX_COUNT} else f" from {least} to {most}"
        raise directive.error(f"{text!r} is not a whole number{limit}")
    return int(text)


def seconds(directive: Directive, text: str) -> float:
    """A duration, whole or decimal."""
    if not _DECIMAL.fullmatch(text) or len(text) > 18 or float(text) > MAX_INTEGER:
        raise directive.error(f"{text!r} is not a number of seconds")
    return float(text)


def inactivity(directive: Directive) -> tuple[float, int]:
    """`inactive SECONDS [BYTES]`."""
    least = integer(directive, directive.args[1], most=MAX_COUNT) if len(directive.args) > 1 else 0
    return seconds(directive, directive.args[0]), least


def integer_of(directives: Directives, name: str, default: int, least: int = 0, most: int = MAX_INTEGER) -> int:
    """The integer option `name`, or its default."""
    directive = directives.last(name)
    return default if directive is None else integer(directive, directive.args[0], least, most)


def positive(directive: Directive, text: str) -> float:
    """A number of seconds that is not 0."""
    value = seconds(directive, text)
    if not value:
        raise directive.error("must be more than 0 seconds")
    return value


def positive_of(directives: Directives, name: str, default: float) -> float:
    """The seconds of an option that may not be 0, the last one written, or `default`."""
    directive = directives.last(name)
    return default if directive is None else positive(directive, directive.args[0])


def seconds_of(directives: Directives, name: str, default: float) -> float:
    """The duration option `name`, or its default."""
    directive = directives.last(name)
    return default if directive is None else seconds(directive, directive.args[0])


def text_of(directives: Directives, name: str) -> str | None:
    """The first argument of option `name`, or None."""
    directive = directives.last(name)
    return None if directive is None else directive.args[0]


def port(directive: Directive, text: str) -> int:
    """A port number; 0 lets the kernel choose."""
    return integer(directive, text, 0, 65535)


def choice(directive: Directive, text: str, *allowed: str) -> str:
    """One word out of `allowed`."""
    if text not in allowed:
        raise directive.error(f"{text!r} is not one of {', '.join(allowed)}")
    return text


def interface(directive: Directive, text: str) -> str:
    """A name that an interface may have."""
    if not _INTERFACE.fullmatch(text):
        raise directive.error(f"{text!r} is not a name for an interface; it has at most 15 characters, no / or space")
    return text


def ipv4(directive: Directive, text: str) -> IPv4Address:
    """An IPv4 address."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise directive.error(f"{text!r} is not an IPv4 address") from None


def host(directive: Directive, text: str) -> str:
    """An IP address, or what may be the name of a host; whether it is one is found out when it is wanted."""
    if not _is_address(text) and not _may_be_name(text):
        raise directive.error(f"{text!r} is neither an IP address nor the name of a host")
    return text


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _may_be_name(text: str) -> bool:
    if _NUMBERS.fullmatch(text):
        try:
            socket.inet_aton(text)
        except OSError:
            return False
        return True
    labels = text.removesuffix(".").split(".")
    return len(text) <= 254 and all(map(_LABEL.fullmatch, labels))


def is_netmask(address: IPv4Address) -> bool:
    """Whether it is ones followed by zeros, and so no host's address."""
    zeros = ~int(address) & 0xFFFFFFFF
    return int(address) >= 1 << 31 and not zeros & (zeros + 1)


def ipv6(directive: Directive, text: str) -> IPv6Address:
    """An IPv6 address."""
    try:
        return IPv6Address(text)
    except ValueError:
        raise directive.error(f"{text!r} is not an IPv6 address") from None


def ipv4_network(directive: Directive, address: str, netmask: str) -> IPv4Network:
    """An IPv4 network from its address and its netmask (or prefix length)."""
    network = any_network(directive, f"{ipv4(directive, address)}/{netmask}")
    if not isinstance(network, IPv4Network):
        raise directive.error(f"{address}/{netmask} is not an IPv4 network")
    return network


def ipv6_network(directive: Directive, text: str) -> IPv6Network:
    """An IPv6 network, ADDRESS/BITS."""
    network = any_network(directive, text)
    if not isinstance(network, IPv6Network):
        raise directive.error(f"{text!r} is not an IPv6 network; write it as fd00:1:2:3::/64")
    return network


def ipv6_interface(directive: Directive, text: str) -> IPv6Interface:
    """An IPv6 address with the prefix length of its network, ADDRESS/BITS."""
    try:
        if "/" in text:
            return IPv6Interface(text)
    except ValueError:
        pass
    raise directive.error(f"{text!r} is not an IPv6 address with its prefix length")


def any_network(directive: Directive, text: str) -> IPv4Network | IPv6Network:
    """A network of either family; an address alone is the network of that one host."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise directive.error(f"{text!r} is not a network; write it as 10.8.0.0/24") from None
    raise directive.error(f"{text!r} is an address inside a network; the network is {meant}")
