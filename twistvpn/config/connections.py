"""The remotes of a client in OpenVPN's syntax: `remote` lines and <connection> blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.directive import Directives
from twistvpn.config.endpoints import DEFAULT_PORT, protocol
from twistvpn.config.lexer import lex
from twistvpn.config.outside import check_outer, read_outside
from twistvpn.config.screen import modern, screen
from twistvpn.config.settings import Remote
from twistvpn.config.values import choice, host, port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.config.directive import Directive

_OWN = frozenset({"remote", "port", "rport", "proto", "http-proxy", "http-proxy-option", "socks-proxy"})
"""What may differ from one connection to the next; anything else must be the same in all of them."""
_OF_DATAGRAMS = frozenset({"fragment", "explicit-exit-notify"})
"""What a connection over TCP need not have, though the others do: it means nothing there, and stock refuses it."""


def read_connections(directives: Directives) -> tuple[Remote, ...]:
    """The remotes in order; <connection> blocks replace `remote` lines outside of them, as in stock."""
    blocks = directives.every("connection")
    written = directives.every("remote")
    if blocks:
        for item in written:
            directives.note(
                item, f"changes nothing here: the <connection> blocks replace it (line {blocks[0].origin.line})"
            )
        connections = [_block(directives, block) for block in blocks]
        _hoist(directives, blocks, connections)
        remotes = [_remote(own.every("remote")[0], own, directives) for own in connections]
    else:
        remotes = [_remote(item, directives, directives) for item in written]
    if not remotes:
        raise directives.missing("remote", "is missing; write remote HOST [PORT [udp|tcp]]")
    kept = _forced(directives, remotes)
    check_outer(directives, kept)
    return kept


def _block(directives: Directives, block: Directive) -> Directives:
    if not block.inline:
        raise block.error("is a block; write <connection>, its options, and </connection>")
    written = map(modern, lex(block.args[0], block.origin.file, (block.origin.line or 0) + 1))
    own = Directives((), file=directives.file, directory=directives.directory)
    own.items = list(screen((item for item in written if item is not None), own, frozenset()))
    directives.notes.extend(own.notes)
    if len(own.every("remote")) != 1:
        raise block.error("a <connection> block has exactly one remote")
    return own


def _hoist(directives: Directives, blocks: Sequence[Directive], connections: Sequence[Directives]) -> None:
    """Move what all blocks agree on to the whole configuration; what they do not is a mistake."""
    over_udp = [own for own in connections if _remote(own.every("remote")[0], own, directives).proto == "udp"]
    datagrams = over_udp or connections
    for block, own in zip(blocks, connections, strict=True):
        for item in own.items:
            if item.name in _OWN:
                continue
            others = (other.last(item.name) for other in (datagrams if item.name in _OF_DATAGRAMS else connections))
            if any(other is None or other.args != item.args for other in others):
                raise item.error(
                    f"must be the same in every <connection>; move it out of the block (line {block.origin.line})"
                )
    directives.items.extend(item for item in connections[0].items if item.name not in _OWN | _OF_DATAGRAMS)
    directives.items.extend(item for item in datagrams[0].items if item.name in _OF_DATAGRAMS)


def _remote(item: Directive, own: Directives, general: Directives) -> Remote:
    server, number, proto = (*item.args, "", "")[:3]
    port_option = own.last_of("rport", "port") or general.last_of("rport", "port")
    proto_option = own.last("proto") or general.last("proto")
    kind, family = protocol(proto_option, proto_option.args[0], "client") if proto_option is not None else ("udp", 0)
    if proto:
        kind, family = protocol(item, proto, "client")
    if number:
        numeric = port(item, number)
    else:
        numeric = port(port_option, port_option.args[0]) if port_option is not None else DEFAULT_PORT
    remote = Remote(host(item, server), numeric, "tcp" if kind == "tls" else kind, family, origin=item.origin)
    return read_outside(remote, kind, own, general)


def _forced(directives: Directives, remotes: Sequence[Remote]) -> tuple[Remote, ...]:
    force = directives.last("proto-force")
    if force is None:
        return tuple(remotes)
    proto = choice(force, force.args[0], "udp", "tcp", "tcp-client")[:3]
    kept = tuple(remote for remote in remotes if remote.proto == proto)
    if not kept:
        raise force.error(f"no remote is left; none of them is {proto}")
    return kept
