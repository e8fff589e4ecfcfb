"""OpenVPN 3's own command line client, `ovpncli`, as a client in a lab."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.interop.peers import Client, Lab

BINARY = os.environ.get("INTEROP_OVPN3", "")
"""INTEROP_OVPN3 names it; no distribution has it, its source is test/ovpncli in OpenVPN 3's."""

OPENVPN3 = "openvpn3"


def openvpn3(lab: Lab, *extra: str, name: str = "client", words: Sequence[str] = (), answer: str = "") -> Client:
    """A client that is not started yet; `words` are of its command line, `answer` is what its user types."""
    client = lab.client(OPENVPN3, name, *extra)
    client.config = client.config.rename(client.config.with_suffix(".ovpn"))
    typed = lab.directory / f"{name}-typed"
    typed.write_text(f"{answer}\n")
    command = [BINARY, *words, str(client.config)]
    client.process.command[:] = ["sh", "-c", 'exec "$@" < "$0"', str(typed), *command]
    return client
