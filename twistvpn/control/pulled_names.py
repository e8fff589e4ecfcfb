"""Names of hosts among what a server pushes, and addresses in their place (`allow-pull-fqdn`).

Source: openvpn(8); the options in which stock clients take one: `route`, `route-gateway` and `ifconfig`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from twistvpn.errors import MalformedPacket
from twistvpn.wire.options import split_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_NAMES = 64
"""Names that a server may have us look up."""

_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,20}\.?", re.ASCII)
_PLACES = {"route": (1, 3), "route-gateway": (1,), "ifconfig": (1, 2)}
"""Which words of an option may be names."""
_KEYWORDS = frozenset({"default", "dhcp"})


def names_in(options: Iterable[str]) -> list[str]:
    """The names in the options, each once, `MOST_NAMES` at most."""
    names = dict.fromkeys(words[place] for words in map(_words, options) for place in _named(words))
    return list(names)[:MOST_NAMES]


def with_addresses(options: Iterable[str], addresses: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """The options with addresses for names, and the options that are left out since a name of theirs has none.

    A route to a name is one to each address of it; elsewhere the first one counts.
    """
    kept: list[str] = []
    left_out: list[str] = []
    for option in options:
        words = _words(option)
        places = _named(words)
        if not places:
            kept.append(option)
            continue
        found = {place: addresses.get(words[place], ()) for place in places}
        if not all(found.values()):
            left_out.append(option)
            continue
        for place in places:
            words[place] = found[place][0]
        destinations = found.get(1, ()) if words[0] == "route" else ()
        kept += [" ".join([words[0], address, *words[2:]]) for address in destinations] or [" ".join(words)]
    return kept, left_out


def _words(option: str) -> list[str]:
    try:
        return split_words(option)
    except MalformedPacket:
        return []


def _named(words: Sequence[str]) -> list[int]:
    places = _PLACES.get(words[0], ()) if words else ()
    return [place for place in places if place < len(words) and _is_name(words[place])]


def _is_name(word: str) -> bool:
    return word not in _KEYWORDS and _NAME.fullmatch(word) is not None
