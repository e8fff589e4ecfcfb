"""What an admin wants pushed: options in OpenVPN's syntax, handed on as they are where they can travel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.framing import check_compression

if TYPE_CHECKING:
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
    if words[0] in {"comp-lzo", "compress"}:
        check_compression(directive, words)
    return option
