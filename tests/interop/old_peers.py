"""Stock peers as they were: a copy of the program that goes by other names for what it says and hears of abilities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.interop.peers import Peer


def forget(peer: Peer, *names: bytes) -> None:
    """Let the peer run a copy of its program in which each name, which begins with 'IV_', is spelt differently."""
    program = Path(peer.process.command[0]).read_bytes()
    for name in names:
        assert program.count(name) == 1, name
        program = program.replace(name, name.replace(b"IV_", b"IX_"))
    old = peer.config.with_name("old-openvpn")
    old.write_bytes(program)
    old.chmod(0o755)
    peer.process.command[0] = str(old)
