"""Stock peers as they were before the exporter and peer ids: the TLS 1.0 PRF, and P_DATA_V1.

Debian's openvpn has no option to forget them, so a copy of it is made whose IV_PROTO goes by another name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import GATEWAY6, OURS, STOCK
from tests.interop.tunnel import Tunnel

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Peer

pytestmark = pytest.mark.interop

ANNOUNCED = b"IV_PROTO=%d\n"
LOOKED_FOR = b"IV_PROTO=\0"


def make_old(peer: Peer, name: bytes) -> None:
    """Let the peer run a copy of its program in which `name` is spelt differently."""
    program = Path(peer.process.command[0]).read_bytes()
    assert program.count(name) == 1
    old = peer.config.with_name("old-openvpn")
    old.write_bytes(program.replace(name, name.replace(b"IV_PROTO", b"IV_PROT_")))
    old.chmod(0o755)
    peer.process.command[0] = str(old)


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("cipher", ["AES-256-GCM", "CHACHA20-POLY1305"])
@pytest.mark.parametrize("old", ["client", "server"])
def test_a_peer_without_exporter_and_peer_id(make_lab: MakeLab, old: str, cipher: str, proto: str) -> None:
    lab = make_lab(Tunnel(proto, cipher=cipher))
    server = lab.server(STOCK if old == "server" else OURS)
    client = lab.client(STOCK if old == "client" else OURS)
    if old == "server":
        make_old(server, LOOKED_FOR)
    else:
        make_old(client, ANNOUNCED)
    server.start()
    client.start()
    assert client.namespace.answers(GATEWAY6)
    lab.exchange(client, 1_000_000)
