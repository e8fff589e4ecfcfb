"""What `twistvpn` runs: the command, once it is known that it can be loaded."""

from __future__ import annotations

import sys

from twistvpn.compiled import Unavailable


def main() -> None:
    """Run the command; what the environment has wrong is one line and exit status 1, as everything is."""
    try:
        from twistvpn.cli.main import main as command
    except Unavailable as error:
        sys.exit(f"Error: {error}")
    command()
