"""What else than packets is said on the data channel: plaintexts that begin with bytes no packet begins with."""

from __future__ import annotations

PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
"""The plaintext that keeps a connection alive."""
OCC_MAGIC = bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c")
"""The first 16 bytes of an options-consistency message; one byte that tells its type follows."""
OCC_EXIT = 6
