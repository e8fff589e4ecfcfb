"""What else peers say to each other: goodbyes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import OURS, STOCK

if TYPE_CHECKING:
    from tests.interop.peers import Lab

pytestmark = pytest.mark.interop


@pytest.mark.shows("explicit-exit-notify")
def test_a_stock_server_hears_our_goodbye(lab: Lab) -> None:
    server = lab.server(STOCK, "verb 4")
    server.start()
    client = lab.client(OURS, "client", "explicit-exit-notify 2")
    client.start()
    client.process.stop()
    # 2.6 hears it on the control channel, older ones in a data packet.
    server.process.wait_for_line("exit message received|remote-exit")


@pytest.mark.shows("explicit-exit-notify")
def test_a_stock_client_hears_our_servers_goodbye(lab: Lab) -> None:
    server = lab.server(OURS, "explicit-exit-notify 1")
    server.start()
    client = lab.client(STOCK)
    client.start()
    server.process.stop()
    client.process.wait_for_line("server-pushed-connection-reset")


@pytest.mark.shows("explicit-exit-notify")
def test_our_client_hears_a_stock_servers_goodbye(lab: Lab) -> None:
    server = lab.server(STOCK, "explicit-exit-notify 1")
    server.start()
    client = lab.client(OURS)
    client.start()
    server.process.stop()
    client.process.wait_for_line("the server asks for a restart")
