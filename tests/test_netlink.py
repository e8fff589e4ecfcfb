"""What the configurator does to a host, looked at with the host's own eyes, and that it takes it back."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
import textwrap
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from twisted.internet.testing import MemoryReactor
from typing_extensions import Self

from tests.netns import fresh_namespace, needs_tun
from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import DeviceType
from twistvpn.tun.device import TunDevice, open_tun
from twistvpn.tun.netlink import InterfaceAddress, LocalNetwork, NetworkConfigurator
from twistvpn.tun.rtnetlink import NextHop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyroute2 import IPRoute

LAN_GATEWAY = ip_address("192.0.2.254")
SERVER = ip_address("203.0.113.7")


def host_routes() -> set[str]:
    """Return the host's routes as `ip` shows them, without those the kernel makes for addresses."""
    lines: list[str] = []
    for version in ("-4", "-6"):
        shown = subprocess.run(["ip", version, "route"], capture_output=True, text=True, check=True).stdout
        lines += [" ".join(line.split()) for line in shown.splitlines() if "proto kernel" not in line]
    return {line.replace(" pref medium", "").replace(" proto static", "") for line in lines}


def host_addresses(ifname: str) -> str:
    return subprocess.run(["ip", "address", "show", ifname], capture_output=True, text=True, check=True).stdout


def run_ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def host() -> Iterator[TunDevice]:
    """Give a namespace with an interface 'lan' that leads to the internet, and yield an open tun device."""
    with fresh_namespace():
        run_ip("link", "set", "lo", "up")
        lan = open_tun(MemoryReactor(), "lan")
        run_ip("address", "add", "192.0.2.1/24", "dev", "lan")
        run_ip("address", "add", "2001:db8::1/64", "dev", "lan", "nodad")
        run_ip("link", "set", "lan", "up")
        run_ip("route", "add", "default", "via", str(LAN_GATEWAY))
        run_ip("route", "add", "default", "via", "2001:db8::ffff")
        device = open_tun(MemoryReactor(), "tun0")
        try:
            yield device
        finally:
            device.close()
            lan.close()


@pytest.fixture
def network(host: TunDevice) -> NetworkConfigurator:
    """Return a configurator that has given tun0 addresses."""
    configurator = NetworkConfigurator()
    configurator.set_up(host.name)
    configurator.add_address(host.name, ip_interface("10.8.0.1/24"))
    configurator.add_address(host.name, ip_interface("fd00:8::1/64"))
    return configurator


interop = [pytest.mark.interop, needs_tun]


class TestOnAHost:
    pytestmark = interop

    def test_the_link_gets_what_is_set(self, host: TunDevice, network: NetworkConfigurator) -> None:
        network.set_mtu(host.name, 1400)
        network.set_txqueuelen(host.name, 1234)
        shown = host_addresses(host.name)
        assert "mtu 1400" in shown
        assert "qlen 1234" in shown
        assert "UP" in shown
        assert "inet 10.8.0.1/24" in shown
        assert "inet6 fd00:8::1/64 scope global nodad" in shown

    @pytest.mark.usefixtures("host")
    def test_a_tap_has_an_address_and_perhaps_a_bridge(self, network: NetworkConfigurator) -> None:
        tap = open_tun(MemoryReactor(), "tap0", DeviceType.TAP)
        try:
            network.set_lladdr("tap0", "02:00:5e:10:00:01")
            assert network.lladdrs("tap0") == [bytes.fromhex("02005e100001")]
            assert network.lladdrs("tun0") == []
            run_ip("link", "add", "br0", "address", "02:00:5e:10:00:02", "type", "bridge")
            assert not network.has_master("tap0")
            run_ip("link", "set", "tap0", "master", "br0")
            assert network.has_master("tap0")
            assert network.lladdrs("tap0") == [bytes.fromhex("02005e100001"), bytes.fromhex("02005e100002")]
            with pytest.raises(EnvironmentRefusal, match="cannot set the address of tap0 to 01:"):
                network.set_lladdr("tap0", "01:00:5e:10:00:01")
        finally:
            tap.close()

    @pytest.mark.usefixtures("host")
    def test_routes_lead_where_they_are_told(self, network: NetworkConfigurator) -> None:
        before = host_routes()
        network.add_route(ip_network("10.20.0.0/16"), ifname="tun0")
        network.add_route(ip_network("10.30.0.0/16"), ip_address("10.20.0.9"), metric=7)
        network.add_route(ip_network("fd00:30::/48"), ip_address("fd00:8::9"), "tun0")
        network.add_route(ip_network("fd00:40::/48"), ifname="tun0", metric=50)
        assert host_routes() - before == {
            "10.20.0.0/16 dev tun0 scope link",
            "10.30.0.0/16 via 10.20.0.9 dev tun0 metric 7",
            "fd00:30::/48 via fd00:8::9 dev tun0 metric 1024",
            "fd00:40::/48 dev tun0 metric 50",
        }
        network.undo()
        assert host_routes() == before

    def test_undo_takes_back_addresses_and_all_it_did(self, host: TunDevice, network: NetworkConfigurator) -> None:
        network.undo()
        assert "10.8.0.1" not in host_addresses(host.name)
        assert "fd00:8::1" not in host_addresses(host.name)
        network.undo()

    def test_all_traffic_through_the_tunnel_and_back(self, host: TunDevice, network: NetworkConfigurator) -> None:
        before = host_routes()
        way = network.route_to(SERVER)
        assert way == NextHop(LAN_GATEWAY, "lan")
        network.add_route(ip_network(SERVER), way.gateway, way.ifname)
        for half in ("0.0.0.0/1", "128.0.0.0/1"):
            network.add_route(ip_network(half), ip_address("10.8.0.2"), "tun0")
        assert network.route_to(SERVER) == NextHop(LAN_GATEWAY, "lan")
        assert network.route_to(ip_address("198.51.100.1")) == NextHop(ip_address("10.8.0.2"), "tun0")
        host.close()
        assert "203.0.113.7 via 192.0.2.254 dev lan" in host_routes()
        network.undo()
        assert host_routes() == before

    @pytest.mark.usefixtures("host")
    def test_what_was_there_already_is_not_ours_to_remove(self, network: NetworkConfigurator) -> None:
        run_ip("route", "add", "10.20.0.0/16", "dev", "tun0")
        run_ip("route", "add", "fd00:20::/48", "dev", "tun0")
        run_ip("address", "add", "10.99.0.1/24", "dev", "tun0")
        network.add_route(ip_network("10.20.0.0/16"), ifname="tun0")
        network.add_route(ip_network("fd00:20::/48"), ifname="tun0")
        network.add_address("tun0", ip_interface("10.99.0.1/24"))
        network.undo()
        assert {"10.20.0.0/16 dev tun0 scope link", "fd00:20::/48 dev tun0 metric 1024"} <= host_routes()
        assert "inet 10.99.0.1/24" in host_addresses("tun0")

    @pytest.mark.parametrize("wanted", ["10.20.0.0/16", "fd00:20::/48"])
    @pytest.mark.usefixtures("host")
    def test_another_route_to_the_network_is_refused_and_stays(self, network: NetworkConfigurator, wanted: str) -> None:
        run_ip("route", "add", wanted, "dev", "lan")
        before = host_routes()
        with pytest.raises(EnvironmentRefusal, match=rf"{wanted} dev tun0.* dev lan exists.*another metric"):
            network.add_route(ip_network(wanted), ifname="tun0")
        network.add_route(ip_network(wanted), ifname="tun0", metric=5)
        network.undo()
        assert host_routes() == before

    @pytest.mark.usefixtures("host")
    def test_undo_tolerates_what_others_have_removed(self, network: NetworkConfigurator) -> None:
        before = host_routes()
        network.add_route(ip_network("10.20.0.0/16"), ifname="tun0")
        network.add_route(ip_network("10.30.0.0/16"), ifname="lan")
        run_ip("route", "del", "10.20.0.0/16")
        network.undo()
        assert host_routes() == before

    @pytest.mark.usefixtures("host")
    def test_refusals_are_one_line_with_a_mend(self, network: NetworkConfigurator) -> None:
        with pytest.raises(EnvironmentRefusal, match=r"10\.20\.0\.0/16 via 172\.16\.0\.1: .*gateway cannot be reached"):
            network.add_route(ip_network("10.20.0.0/16"), ip_address("172.16.0.1"))
        with pytest.raises(EnvironmentRefusal, match="there is no interface tun7"):
            network.set_up("tun7")
        with pytest.raises(EnvironmentRefusal, match="MTU of tun0 to 5"):
            network.set_mtu("tun0", 5)
        with pytest.raises(ValueError, match="gateway or an interface"):
            network.add_route(ip_network("10.20.0.0/16"))

    def test_a_host_without_ipv6_is_told(self, host: TunDevice) -> None:
        Path(f"/proc/sys/net/ipv6/conf/{host.name}/disable_ipv6").write_text("1", "ascii")
        with pytest.raises(EnvironmentRefusal, match="is IPv6 disabled"):
            NetworkConfigurator().add_address(host.name, ip_interface("fd00::1/64"))

    @pytest.mark.usefixtures("host")
    def test_what_the_host_has_is_seen(self, network: NetworkConfigurator) -> None:
        assert InterfaceAddress(ip_interface("192.0.2.1/24"), "lan") in network.addresses()
        networks = network.local_networks()
        assert LocalNetwork(ip_network("10.8.0.0/24"), "tun0") in networks
        assert LocalNetwork(ip_network("2001:db8::/64"), "lan") in networks
        assert not [local for local in networks if local.network.is_link_local]

    @pytest.mark.usefixtures("host")
    def test_the_default_gateway_is_that_of_the_lowest_metric(self, network: NetworkConfigurator) -> None:
        run_ip("route", "add", "default", "via", "10.8.0.9", "metric", "10")
        assert network.default_gateway() == NextHop(LAN_GATEWAY, "lan")
        assert network.default_gateway(6) == NextHop(ip_address("2001:db8::ffff"), "lan")
        run_ip("route", "del", "default", "via", str(LAN_GATEWAY))
        assert network.default_gateway() == NextHop(ip_address("10.8.0.9"), "tun0")
        run_ip("route", "del", "default")
        run_ip("route", "add", "unreachable", "default")
        assert network.default_gateway() is None

    @pytest.mark.usefixtures("host")
    def test_an_address_without_a_route_has_no_next_hop(self, network: NetworkConfigurator) -> None:
        assert network.route_to(ip_address("192.0.2.77")) == NextHop(None, "lan")
        run_ip("route", "del", "default")
        assert network.route_to(SERVER) is None

    @pytest.mark.parametrize("wanted", ["192.0.2.128/25", "192.0.0.0/16", "2001:db8::/64"])
    @pytest.mark.usefixtures("host")
    def test_a_network_that_overlaps_a_local_one_is_refused(self, network: NetworkConfigurator, wanted: str) -> None:
        with pytest.raises(EnvironmentRefusal, match=rf"{wanted} overlaps .* lan: .*choose another network"):
            network.check_overlap(ip_network(wanted))

    @pytest.mark.usefixtures("host")
    def test_our_own_interface_does_not_count_as_an_overlap(self, network: NetworkConfigurator) -> None:
        network.check_overlap(ip_network("10.8.0.0/24"), "tun0")
        with pytest.raises(EnvironmentRefusal):
            network.check_overlap(ip_network("10.8.0.0/24"))

    @pytest.mark.usefixtures("host")
    def test_it_works_where_an_asyncio_loop_runs(self, network: NetworkConfigurator) -> None:
        async def ask() -> NextHop | None:
            return network.route_to(SERVER)

        assert asyncio.run(ask()) == NextHop(LAN_GATEWAY, "lan")

    @pytest.mark.usefixtures("host")
    def test_no_file_stays_open(self, network: NetworkConfigurator) -> None:
        before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
        for metric in range(1, 20):
            network.add_route(ip_network("10.20.0.0/16"), ifname="tun0", metric=metric)
        with pytest.raises(EnvironmentRefusal):
            network.set_up("nowhere")
        network.undo()
        assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before

    @pytest.mark.usefixtures("host")
    def test_it_works_after_privileges_are_shed_but_for_cap_net_admin(self) -> None:
        script = """
            import ctypes, os, struct
            from ipaddress import ip_interface, ip_network
            from twistvpn.tun.netlink import NetworkConfigurator
            network = NetworkConfigurator()
            network.add_address("tun0", ip_interface("10.8.0.1/24"))
            libc = ctypes.CDLL(None, use_errno=True)
            PR_SET_KEEPCAPS, CAP_NET_ADMIN, CAPABILITY_VERSION_3 = 8, 12, 0x20080522
            assert libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
            os.setresuid(65534, 65534, 65534)
            only = 1 << CAP_NET_ADMIN
            header, sets = struct.pack("=Ii", CAPABILITY_VERSION_3, 0), struct.pack("=6I", only, only, 0, 0, 0, 0)
            assert libc.capset(header, sets) == 0
            network.set_up("tun0")
            network.add_route(ip_network("10.20.0.0/16"), ifname="tun0")
            assert "10.20.0.0/16" in os.popen("ip route").read()
            network.undo()
            print(os.getuid(), os.popen("ip route show dev tun0").read().strip())
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
        )
        assert (done.stdout.strip(), done.stderr) == ("65534", "")


class RefusingNetlink:
    """A netlink socket whose every request fails with one errno."""

    def __init__(self, code: int) -> None:
        self.code = code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def link_lookup(self, **_: Any) -> list[int]:
        return [1]

    def addr(self, *_: Any, **__: Any) -> None:
        raise NetlinkError(self.code)


@pytest.mark.interop
@needs_tun
def test_addresses_with_a_path_mtu_can_be_taken_back_and_given_again(host: TunDevice) -> None:
    configurator = NetworkConfigurator()
    configurator.set_up(host.name)
    before = host_routes()
    for _ in range(3):
        for address in ("10.8.0.1/24", "fd00:8::1/64"):
            configurator.add_address(host.name, ip_interface(address), 1400)
        assert any("10.8.0.0/24" in route and "mtu 1400" in route for route in host_routes())
        assert any("fd00:8::/64" in route and "mtu 1400" in route for route in host_routes())
        configurator.undo()
        assert host_routes() == before


def test_without_the_capability_the_mend_is_named() -> None:
    with pytest.raises(EnvironmentRefusal, match="run as root or give the process CAP_NET_ADMIN"):
        NetworkConfigurator(lambda: RefusingNetlink(errno.EPERM)).add_address("tun0", ip_interface("10.8.0.1/24"))


def test_without_a_netlink_socket_the_refusal_is_one_line() -> None:
    def refuse() -> IPRoute:
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(EnvironmentRefusal, match="Too many open files"):
        NetworkConfigurator(refuse).addresses()
