"""The client's host: the device, and what is configured there for the server that we are connected to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from twistvpn.client.names import NameServers
from twistvpn.client.network import ClientNetwork
from twistvpn.client.peer_info import hardware_address
from twistvpn.data.dhcp import take_router
from twistvpn.data.icmp6 import part_ipv6
from twistvpn.data.layers import LAYERS
from twistvpn.interfaces import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twistvpn.config.settings import Settings
    from twistvpn.control.push import PushedOptions
    from twistvpn.interfaces import Buffer, IFrameReceiver, ITun
    from twistvpn.nameservers import IDnsConfigurator
    from twistvpn.tun.netlink import NetworkConfigurator


class ClientHost:
    """Takes packets from the server, and what it pushes about the network.

    `open_tun` makes the device.  Without a `configurator` addresses and routes are left alone, without `dns` name
    servers.  `drops` counts packets from the device that were not let into the tunnel.
    """

    def __init__(
        self,
        settings: Settings,
        open_tun: Callable[[], ITun],
        configurator: NetworkConfigurator | None,
        dns: IDnsConfigurator | None,
    ) -> None:
        assert settings.client is not None
        self.drops: Counter[str] = Counter()
        self.blocks_ipv6 = False
        """Whether packets from the device go through `refuse_ipv6` first."""
        self._device = settings.device
        self._settings = settings
        self._client = settings.client
        self._open_tun = open_tun
        self._configurator = configurator
        self._names = NameServers(settings.client, dns)
        self._layer = LAYERS[settings.device.dev_type]
        self._tun: ITun | None = None
        self._network: ClientNetwork | None = None
        self._offloads = 0
        self._awaits_router = False
        """Whether what DHCP servers say is looked at (`route-gateway dhcp`)."""
        self._written = 0
        """Frames for the tun in the batch at hand."""

    def open(self, receiver: IFrameReceiver) -> None:
        """Open the device, whose packets are the receiver's from now on; nothing happens where it is open."""
        if self._tun is not None:
            return
        self._tun = self._open_tun()
        self._offloads = sum(self._tun.offloads)
        if self._configurator is not None:
            self._network = ClientNetwork(self._settings, self._configurator, self._tun.name)
        self._tun.start(receiver)

    def close(self) -> None:
        """Take back name servers, routes and addresses, and close the device."""
        self._names.undo()
        if self._network is not None:
            self._network.undo()
        if self._tun is not None:
            self._tun.close()
        self._tun = self._network = None

    # What is configured

    def prepare(self, server: str) -> None:
        """See `ClientNetwork.prepare`."""
        if self._network is not None:
            self._network.prepare(server)

    def configure(self, pushed: PushedOptions, server: str, path_mtu: int | None, relay: str | None) -> None:
        """Configure the host for what `server` (its address outside) has pushed.

        `path_mtu` (bytes) and `relay` are as in `ClientNetwork.apply`.  Raises `EnvironmentRefusal`.
        """
        self.blocks_ipv6 = self._device.block_ipv6 or (pushed.block_ipv6 and not self._client.route_nopull)
        if self._network is not None:
            self._network.apply(pushed, server, path_mtu, relay)
            self._awaits_router = self._network.awaits_router(pushed)
        assert self._tun is not None
        self._names.apply(self._tun.name, pushed)

    def hardware_address(self) -> str | None:
        """The Ethernet address of the interface towards the default gateway; None where there is none."""
        if self._configurator is None:
            return None
        hop = self._configurator.default_gateway(4) or self._configurator.default_gateway(6)
        return hardware_address(None if hop is None else hop.ifname)

    # Packets

    def packets_received(self, packets: list[Buffer]) -> None:
        """Packets of one batch from the server go to the device."""
        if self._awaits_router and self._network is not None:
            router = take_router(packets)
            if router is not None:
                self._network.router_found(router)
        if self._tun is not None:
            frames = self._layer.coalesce(packets, self._offloads)
            self._written += len(frames)
            self._tun.write_frames(frames)

    def batch_ended(self) -> None:
        """Everything of one wake-up has come: the host answers a lone packet on the spot more often than not."""
        lone, self._written = self._written == 1, 0
        if lone and self._tun is not None:
            self._tun.poll()

    def refuse_ipv6(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Answer the IPv6 packets of a batch from the device with an error; returns the others (`block-ipv6`)."""
        kept, answers = part_ipv6([frame.packet for frame in frames], self._device.dev_type)
        self.drops["block-ipv6"] += len(frames) - len(kept)
        assert self._tun is not None
        self._tun.write_frames([Frame(answer) for answer in answers])
        return [frames[place] for place in kept]
