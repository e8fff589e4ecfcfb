"""What frames the packets of one client, and what it is told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twistvpn.errors import NegotiationError
from twistvpn.wire.compression import Compression, read_compression
from twistvpn.wire.options import parse_occ, with_comp_lzo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twistvpn.config.settings import DataSettings
    from twistvpn.overrides import ClientOverrides
    from twistvpn.wire.keymethod import KeyMethod2


def choose_framing(
    data: DataSettings, overrides: ClientOverrides, pushed: Sequence[str], info: Mapping[str, str], occ: str
) -> tuple[Compression, list[str]]:
    """How packets to and from a client are framed, and the options that tell it so beside those in `pushed`.

    What the admin pushes holds, then what is configured for this client or for all.  With neither, a client that has a
    framing by its OCC string is brought to the one that costs least, as by stock's `compress migrate`.

    Raises `NegotiationError` where compressed packets would come that `allow-compression` does not let in.
    """
    words = [option.split() for option in pushed]
    told = [option for option in words if option[:1] in (["compress"], ["comp-lzo"])]
    own = data.compression if overrides.framing is None else read_compression(overrides.framing.split())
    chosen = read_compression(told[-1]) if told else own
    if chosen.compresses and data.allow_compression == "no":
        raise NegotiationError(f"{chosen.value} is not allowed here")
    if told or chosen is not Compression.NONE or "comp-lzo" not in parse_occ(occ):
        return chosen, []
    if info.get("IV_COMP_STUBv2") == "1":
        return Compression.STUB_V2, ["compress stub-v2"]
    return Compression.STUB, ["comp-lzo no"]


def answer_in_kind(own: KeyMethod2, client: KeyMethod2) -> KeyMethod2:
    """Name comp-lzo to a client that does, for it is about to be brought away from it: others would make it warn."""
    if "comp-lzo" not in parse_occ(client.options):
        return own
    return replace(own, options=with_comp_lzo(own.options))
