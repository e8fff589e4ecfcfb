"""What lies between packets and sealing: `compress` and `comp-lzo` with `allow-compression`, and `fragment`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.settings import FragmentLimit
from twistvpn.config.values import choice, integer
from twistvpn.wire.compression import Compression, read_compression

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twistvpn.config.directive import Directive, Directives
    from twistvpn.config.settings import Listen, Remote

_SMALLEST_FRAGMENT = 68
"""As in stock."""


def read_framing(directives: Directives) -> tuple[Compression, str, FragmentLimit | None]:
    """How packets are framed, whether compressed ones are taken (`DataSettings.allow_compression`), and `fragment`."""
    own = directives.last_of("compress", "comp-lzo")
    compression = Compression.NONE if own is None else check_compression(own, (own.name, *own.args))
    pushed = {
        item: check_compression(item, item.args[0].split()) for item in directives.every("push") if _is_framing(item)
    }
    allow = directives.last("allow-compression")
    if allow is None:
        return compression, _implied(own, [compression, *pushed.values()]), _fragment(directives)
    choice(allow, allow.args[0], "no", "asym", "yes")
    if allow.args[0] == "yes":
        directives.note(allow, "means asym here: what peers compress is decompressed, what we send is not compressed")
    if allow.args[0] == "no":
        for directive, wanted in ((own, compression), *pushed.items()):
            if directive is not None and wanted.compresses:
                raise directive.contradiction(allow)
    return compression, allow.args[0], _fragment(directives)


def _is_framing(directive: Directive) -> bool:
    return directive.args[0].split()[:1] in (["compress"], ["comp-lzo"])


def check_compression(directive: Directive, words: Iterable[str]) -> Compression:
    """The framing that a `compress` or `comp-lzo` option names; raises `ConfigError` where it names none."""
    try:
        return read_compression(list(words))
    except ValueError as error:
        raise directive.error(str(error)) from None


def refuse_compression(items: Iterable[Directive], allow: str) -> None:
    """Raise `ConfigError` for an option of one client by which packets come compressed where `allow` is no."""
    for item in items:
        if item.name in {"compress", "comp-lzo"}:
            words = (item.name, *item.args)
        elif item.name == "push" and _is_framing(item):
            words = tuple(item.args[0].split())
        else:
            continue
        if allow == "no" and check_compression(item, words).compresses:
            raise item.error(
                "compressed packets are not let in (allow-compression no, the default); remove it, or set "
                "allow-compression asym for all clients"
            )


def _implied(own: Directive | None, wanted: Iterable[Compression]) -> str:
    """As stock 2.6 has it: an algorithm, or any `compress`, lets compressed packets in."""
    has_compress = own is not None and own.name == "compress"
    return "asym" if has_compress or any(compression.compresses for compression in wanted) else "no"


def _fragment(directives: Directives) -> FragmentLimit | None:
    directive = directives.last("fragment")
    if directive is None:
        return None
    mode = choice(directive, directive.args[1], "mtu") if len(directive.args) > 1 else FragmentLimit.mode
    return FragmentLimit(integer(directive, directive.args[0], _SMALLEST_FRAGMENT, 65535), mode)


def check_fragment(directives: Directives, ends: Iterable[Listen | Remote]) -> None:
    """Raise `ConfigError` for a `fragment` where no link is UDP."""
    directive = directives.last("fragment")
    if directive is not None and all(end.proto != "udp" for end in ends):
        raise directive.error("works over UDP alone, and a TCP link needs none; remove it")
