"""INI's `fixed-address`, and that no two clients are given one address."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from twistvpn.config.client_config import DEFAULT, read_overrides
from twistvpn.config.subnet import check_address, check_address6
from twistvpn.overrides import ALIKE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address

    from twistvpn.config.directive import Directive
    from twistvpn.config.settings import ServerSettings
    from twistvpn.overrides import ClientOverrides


def with_fixed_addresses(
    lines: Sequence[Directive],
    server: ServerSettings,
    sections: Mapping[str, Sequence[Directive]],
    clients: Mapping[str, ClientOverrides],
) -> dict[str, ClientOverrides]:
    """`clients`, which were read from `sections`, with the addresses of `NAME ADDRESS [ADDRESS6]` lines.

    Raises `ConfigError` where an address is wanted twice or a line's name has one already, or where an address is not
    free for a client.
    """
    merged = dict(clients)
    wanted: dict[IPv4Address | IPv6Address, str] = {}
    for name, overrides in clients.items():
        if overrides.addresses:
            _claim(wanted, name, overrides, next(item for item in sections[name] if "-push" in item.name))
    named: set[str] = set()
    for line in lines:
        if len(line.args) not in {2, 3}:
            raise line.error("is written NAME ADDRESS [ADDRESS6]")
        name = line.args[0]
        before = merged.get(name) or clients.get(DEFAULT, ALIKE)
        if name in named or (name in clients and before.addresses):
            raise line.error(f"{name} has an address already; keep one of the lines")
        named.add(name)
        fixed = read_overrides(_options(line, server), server)
        _claim(wanted, name, fixed, line)
        merged[name] = replace(before, ifconfig=fixed.ifconfig, ifconfig6=fixed.ifconfig6)
    return merged


def _claim(
    wanted: dict[IPv4Address | IPv6Address, str], name: str, overrides: ClientOverrides, line: Directive
) -> None:
    """Note in `wanted` whose the addresses are; `line` is where a mistake is told."""
    for address in overrides.addresses:
        if address in wanted:
            raise line.error(f"{name} and {wanted[address]} want one address, {address}; give each its own")
        wanted[address] = name


def _options(line: Directive, server: ServerSettings) -> list[Directive]:
    """The line's addresses as `ifconfig-push` and `ifconfig-ipv6-push`."""
    options: list[Directive] = []
    for text in line.args[1:]:
        try:
            address = ip_address(text)
        except ValueError:
            raise line.error(f"{text!r} is not an address") from None
        name = "ifconfig-ipv6-push" if isinstance(address, IPv6Address) else "ifconfig-push"
        if any(option.name == name for option in options):
            raise line.error("names two addresses of one IP version; keep one")
        if isinstance(address, IPv6Address):
            if server.network6 is None:
                raise line.error(f"{address} has no network of its family left to be in; write network6 in [server]")
            check_address6(line, address, server.network6)
        else:
            if server.network is None:
                raise line.error(f"{address} has no network of its family left to be in; write network in [server]")
            check_address(line, address, server.network)
        options.append(replace(line, name=name, args=(text,)))
    return options
