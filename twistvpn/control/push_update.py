"""PUSH_UPDATE: options that a server changes while a client is connected.

    route 10.1.0.0 255.255.0.0    replaces all routes: the first of a kind in an update does away with those before
    -dns                          takes away what was pushed of that kind
    ?block-ipv6, -?dns            may be ignored by clients that cannot do it

One update may come in several messages.  Source: management-notes.txt of OpenVPN 2.7, `push-update-broad`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from twistvpn.control.push import MAX_PUSHED, parse_pushed
from twistvpn.errors import ConfigError, MalformedPacket, NegotiationError
from twistvpn.wire.options import split_words

if TYPE_CHECKING:
    from collections.abc import Sequence

UPDATABLE = frozenset(
    {
        "block-ipv6",
        "block-outside-dns",
        "dhcp-option",
        "dns",
        "ifconfig",
        "ifconfig-ipv6",
        "keepalive",
        "redirect-gateway",
        "redirect-private",
        "route",
        "route-gateway",
        "route-ipv6",
        "route-metric",
        "topology",
        "tun-mtu",
    }
)
"""Options that may be changed; everything else needs a new connection."""

_REDIRECTS = ("redirect-gateway", "redirect-private")
_PINGS = ("ping", "ping-restart")
_KINDS = {"redirect-gateway": _REDIRECTS, "redirect-private": _REDIRECTS, "keepalive": _PINGS}
"""Options that replace each other."""


class Change(NamedTuple):
    """One option of an update: its flags read."""

    words: tuple[str, ...]
    removes: bool
    is_optional: bool

    @property
    def name(self) -> str:
        """The option's name."""
        return self.words[0]

    @property
    def option(self) -> str:
        """The option without its flags."""
        return " ".join(self.words)


def read_change(text: str) -> Change:
    """Read one option of an update.  Raises `MalformedPacket` where it is none or cannot be changed."""
    option = text.strip()
    removes = option.startswith("-")
    option = option.removeprefix("-")
    is_optional = option.startswith("?")
    option = option.removeprefix("?")
    words = tuple(split_words(option))
    if not words or words[0].startswith(("-", "?")):
        raise MalformedPacket(f"{text!r} is no option of an update")
    if words[0] not in UPDATABLE and not is_optional:
        raise MalformedPacket(f"{words[0]} cannot be changed while a client is connected")
    if removes and len(words) > 1:
        raise MalformedPacket(f"-{words[0]} takes no arguments: all of them go")
    return Change(words, removes, is_optional)


def checked_changes(options: Sequence[str]) -> list[Change]:
    """What a server is about to tell its clients.  Raises `ConfigError` for what they would refuse."""
    try:
        return [read_change(option) for option in options]
    except MalformedPacket as error:
        raise ConfigError(str(error), option="push-update") from None


class PendingUpdate:
    """An update that is coming in; `options` are those of the last PUSH_REPLY, changed so far."""

    def __init__(self, options: Sequence[str]) -> None:
        self.options = list(options)
        self.ignored: list[str] = []
        """Options that may be ignored and were."""
        self._renewed: set[tuple[str, ...]] = set()

    def take(self, options: Sequence[str]) -> None:
        """Apply the options of one message.

        Raises `NegotiationError` for one that we cannot follow: to go on with half of an update would send traffic
        where the server's admin does not want it.
        """
        for text in options:
            if text.strip():
                self._change(text)
        if sum(map(len, self.options)) + sum(map(len, self.ignored)) > MAX_PUSHED:
            raise NegotiationError("the server pushes without end")

    def _change(self, text: str) -> None:
        try:
            change = read_change(text)
        except MalformedPacket as error:
            raise NegotiationError(f"the server's PUSH_UPDATE cannot be followed: {error}") from error
        if change.is_optional and not _is_understood(change):
            self.ignored.append(text.strip())
            return
        kind = _KINDS.get(change.name, (change.name,))
        if change.removes or kind not in self._renewed:
            self.options = [option for option in self.options if _name(option) not in kind]
        if change.removes:
            return
        self._renewed.add(kind)
        self.options += _expanded(change)


def _name(option: str) -> str:
    """The name of an option of a PUSH_REPLY, which may be quoted; nothing where it has none."""
    try:
        return next(iter(split_words(option)), "")
    except MalformedPacket:
        return ""


def _is_understood(change: Change) -> bool:
    if change.name not in UPDATABLE:
        return False
    try:
        return change.removes or not parse_pushed(_expanded(change)).unknown
    except NegotiationError:
        return False


def _expanded(change: Change) -> list[str]:
    """The option as a PUSH_REPLY would have it."""
    if change.name != "keepalive":
        return [change.option]
    return [" ".join(pair) for pair in zip(_PINGS, change.words[1:], strict=False)]
