"""The inner loops of the data path in pure Python; what they do is told where they are defined."""

from __future__ import annotations

from twistvpn.data.aead import Opener, Sealer
from twistvpn.data.coalesce import coalesce
from twistvpn.data.grouping import by_destination, by_source
from twistvpn.data.mss import clamp_mss
from twistvpn.data.offload import segment

__all__ = ["NAME", "Opener", "Sealer", "by_destination", "by_source", "clamp_mss", "coalesce", "segment"]

NAME = "pure Python"
