"""Stock peers as they were before the exporter and peer ids: the TLS 1.0 PRF, and P_DATA_V1.

Debian's openvpn has no option to forget them, so a copy of it is made whose IV_PROTO goes by another name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.old_peers import forget
from tests.interop.peers import GATEWAY6, OURS, STOCK
from tests.interop.releases import stock_is_since, stock_since
from tests.interop.tunnel import Tunnel

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab

pytestmark = pytest.mark.interop

ANNOUNCED = b"IV_PROTO=%d\n" if stock_is_since("2.5") else b"IV_PROTO=2\n"
LOOKED_FOR = b"IV_PROTO=\0"


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize(
    "cipher", ["AES-256-GCM", pytest.param("CHACHA20-POLY1305", marks=stock_since("2.5", "this cipher"))]
)
@pytest.mark.parametrize("old", ["client", "server"])
def test_a_peer_without_exporter_and_peer_id(make_lab: MakeLab, old: str, cipher: str, proto: str) -> None:
    lab = make_lab(Tunnel(proto, cipher=cipher))
    server = lab.server(STOCK if old == "server" else OURS)
    client = lab.client(STOCK if old == "client" else OURS)
    if old == "server":
        forget(server, LOOKED_FOR)
    else:
        forget(client, ANNOUNCED)
    server.start()
    client.start()
    assert client.namespace.answers(GATEWAY6)
    lab.exchange(client, 1_000_000)
