"""A whole VPN in memory, for our tests and for trial suites of programs that embed twistvpn.

`pair` joins a server and its clients: real services, real TLS, certificates made for the occasion; only the devices,
the sockets and the time are the test's.  Nothing needs root, a reactor or a real second:

    class GreetingTest(SynchronousTestCase):
        def test_a_packet_goes_through(self) -> None:
            vpn = pair()
            hello = udp_packet(vpn.client.address, vpn.server.address, b"hello")
            self.assertEqual(transfer(vpn.client, vpn.server, hello), [hello])

Options are in OpenVPN's own syntax, added to a configuration that works, and the network can have faults:

    vpn = pair("alice", "bob", server="client-to-client", client="ping-restart 30", loss=0.3, reordering=0.1)
    vpn.clients["alice"].stop()
    vpn.advance(60)

`MemoryTun`, `MemoryNetwork` and `MemoryLink` (see `twistvpn.memory`) serve alone as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import Clock

from twistvpn.memory import MemoryLink, MemoryNetwork, MemoryTun
from twistvpn.server.factory import VpnFactory
from twistvpn.testing.ends import SERVER_ADDRESS, ClientEnd, ServerEnd, ServerParts
from twistvpn.testing.packets import udp_packet
from twistvpn.testing.vpn import Pair

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Literal

    from twistvpn.interfaces import Buffer, Frame, IAuthenticator, IClientKeyVerifier, IPool, IUserPrompt

__all__ = [
    "SERVER_ADDRESS",
    "ClientEnd",
    "MemoryLink",
    "MemoryNetwork",
    "MemoryTun",
    "Pair",
    "ServerEnd",
    "pair",
    "transfer",
    "udp_packet",
]


def pair(
    *names: str,
    server: str = "",
    client: str = "",
    proto: Literal["udp", "tcp"] = "udp",
    control: Literal["tls-crypt-v2", "tls-crypt", "tls-auth", "none"] = "tls-crypt",
    seed: int = 0,
    loss: float = 0.0,
    duplication: float = 0.0,
    reordering: float = 0.0,
    delay: float = 0.01,
    authenticator: IAuthenticator | None = None,
    pool: IPool | None = None,
    client_key_verifier: IClientKeyVerifier | None = None,
    factory_class: type[VpnFactory] = VpnFactory,
    offloads: Collection[int] = (),
    prompt: IUserPrompt | None = None,
    connect: bool = True,
) -> Pair:
    """Make a server and a client of each name (one called 'client' if none is given), connected.

    `server` and `client` are options in OpenVPN's syntax, added to configurations that work; the networks inside are
    10.8.0.0/24 and fd00:8::/64.  `control` protects the control channel.  `seed`, `loss`, `duplication`,
    `reordering` and `delay` (seconds) are the network's, as in `MemoryNetwork`.  `authenticator`, `pool`,
    `client_key_verifier` and `factory_class` are the server's, `offloads` the TUN_F_* flags that the devices claim.
    `prompt` speaks for the clients' users.  With `connect` False nothing is started: call `Pair.connect`, or `start` on
    the ends.

    Raises `ConfigError` for options that do not work, `AssertionError` if a client cannot connect.
    """
    clock = Clock()
    network = MemoryNetwork(clock, seed=seed, loss=loss, duplication=duplication, reordering=reordering, delay=delay)
    vpn = Pair(
        network,
        clock,
        proto=proto,
        control=control,
        server_options=server,
        server_parts=ServerParts(factory_class, authenticator, pool, client_key_verifier),
        offloads=offloads,
    )
    for name in names or ("client",):
        vpn.add_client(name, client, prompt=prompt)
    if connect:
        vpn.connect()
    return vpn


def transfer(
    source: ServerEnd | ClientEnd, destination: ServerEnd | ClientEnd, *packets: Buffer | Frame, within: float = 5.0
) -> list[bytes]:
    """Send IP packets from one end's host through the tunnel; returns what the other's host was handed.

    The clock runs until as many packets have arrived, `within` seconds at most: what was lost or refused is missing.
    """
    vpn = source._vpn
    wanted = len(destination.tun.written) + len(packets)
    source.inject(*packets)
    end = vpn.clock.seconds() + within
    while len(destination.tun.written) < wanted and vpn._step(end):
        pass
    return destination.tun.take()
