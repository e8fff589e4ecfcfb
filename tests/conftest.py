"""What every test file shares."""

from __future__ import annotations

from hypothesis import settings

# A slow machine is not a failure, and the same commit gives the same result.
settings.register_profile("twistvpn", deadline=None, derandomize=True)
settings.load_profile("twistvpn")
