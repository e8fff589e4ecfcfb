"""The inner loops of the data path in pure Python; what they do is told where they are defined."""

from __future__ import annotations

from twistvpn.data.aead import Opener, Sealer
from twistvpn.data.cbc import CbcOpener, CbcSealer
from twistvpn.data.coalesce import coalesce
from twistvpn.data.epoch import EpochOpener, EpochSealer
from twistvpn.data.ethernet import coalesce_ethernet, segment_ethernet, sort_ethernet
from twistvpn.data.grouping import by_destination, by_ethernet_source, by_source, by_stations
from twistvpn.data.mss import clamp_mss
from twistvpn.data.offload import segment

__all__ = [
    "NAME",
    "CbcOpener",
    "CbcSealer",
    "EpochOpener",
    "EpochSealer",
    "Opener",
    "Sealer",
    "by_destination",
    "by_ethernet_source",
    "by_source",
    "by_stations",
    "clamp_mss",
    "coalesce",
    "coalesce_ethernet",
    "segment",
    "segment_ethernet",
    "sort_ethernet",
]

NAME = "pure Python"
