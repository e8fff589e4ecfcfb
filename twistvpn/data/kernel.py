"""The inner loops of the data path, chosen in one place.

Everything here takes and gives whole batches.  A compiled module that has the same names and
signatures can stand in for the pure Python one without a change anywhere else.
"""

from __future__ import annotations

from twistvpn.data.aead import Opener, Sealer
from twistvpn.data.coalesce import coalesce
from twistvpn.data.mss import clamp_mss
from twistvpn.data.offload import segment

__all__ = ["Opener", "Sealer", "clamp_mss", "coalesce", "segment"]
