"""What the sockets that carry the tunnel are asked for, in the same words in both syntaxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twistvpn.config.settings import PortSharing
from twistvpn.config.values import choice, host, integer_of, interface, port
from twistvpn.interfaces import Multihome, SocketOptions
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twistvpn.config.directive import Directives
    from twistvpn.config.settings import Listen

_MTU_DISCOVER = {"no": 0, "maybe": 1, "yes": 2}
"""IP_PMTUDISC_* behind OpenVPN's words."""

_LARGEST_BUFFER = 1 << 30
_LARGEST_MARK = 2**32 - 1


def read_sockets(directives: Directives, role: Role) -> SocketOptions:
    """Mark, device, buffers, Don't Fragment and multihome."""
    device, discover = directives.last("bind-dev"), directives.last("mtu-disc")
    mode = None
    if discover is not None:
        mode = _MTU_DISCOVER[choice(discover, discover.args[0], *_MTU_DISCOVER)]
    return SocketOptions(
        mark=integer_of(directives, "mark", 0, 0, _LARGEST_MARK),
        device=interface(device, device.args[0]) if device is not None else "",
        send_buffer=_buffer(directives, "sndbuf"),
        receive_buffer=_buffer(directives, "rcvbuf"),
        mtu_discover=mode,
        multihome=_multihome(directives, role),
    )


def _buffer(directives: Directives, name: str) -> int | None:
    return integer_of(directives, name, 0, 0, _LARGEST_BUFFER) if name in directives else None


def _multihome(directives: Directives, role: Role) -> Multihome:
    directive = directives.last("multihome")
    if directive is None:
        return Multihome.NO
    if role is Role.CLIENT:
        directives.note(directive, "changes nothing here: a client answers nobody")
        return Multihome.NO
    if directive.args and choice(directive, directive.args[0], "same-interface", "yes", "no") == "no":
        return Multihome.NO
    return Multihome.INTERFACE if directive.args[:1] == ("same-interface",) else Multihome.ADDRESS


def read_port_share(directives: Directives, listen: Iterable[Listen]) -> PortSharing | None:
    """Who gets what is not OpenVPN."""
    directive = directives.last("port-share")
    if directive is None:
        return None
    if all(end.proto == "udp" for end in listen):
        raise directive.error("UDP has no connections to share; it needs TCP (proto tcp, in INI listen = tcp:PORT)")
    website, number, *journal = directive.args
    folder = directives.path(journal[0]) if journal else None
    # Where it is not there, the server makes it.
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise directive.error(f"{folder} is no directory; name one, or one that the server shall make")
    return PortSharing(host(directive, website), port(directive, number), folder)
