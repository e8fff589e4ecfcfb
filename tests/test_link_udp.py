"""UDP links on loopback, and on a socket that fails as it is told."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.netns import can_open_tun, fresh_namespace
from tests.recorders import RunRecorder
from twistvpn.compiled import find
from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import NOTHING_ASKED, Address, ILink, Multihome, Run, SocketOptions, single
from twistvpn.link.addresses import readable
from twistvpn.link.datagrams import UDP_GRO, DatagramReader, OpenReader
from twistvpn.link.sockets import open_udp_socket
from twistvpn.link.udp import CONTROL_KEPT, UDP_SEGMENT, UdpLink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import ILinkReceiver

_compiled = find("twistvpn.link._datagrams")
HAS_IPV6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")  # noqa: PTH110


class LinkCase(SynchronousTestCase):
    """Makes links that are closed in the end, and stands for the reactor."""

    open_reader: OpenReader = DatagramReader

    def setUp(self) -> None:
        self.reactor = MemoryReactor()

    def link(self, receiver: ILinkReceiver, host: str = "127.0.0.1", options: SocketOptions = NOTHING_ASKED) -> UdpLink:
        sock = open_udp_socket(host, options=options)
        link = UdpLink(self.reactor, sock, receiver, multihome=options.multihome, open_reader=self.open_reader)
        self.addCleanup(link.close)
        return link

    def address(self, link: UdpLink) -> Address:
        return cast("Address", link._socket.getsockname())

    def receive(self, link: UdpLink, recorder: RunRecorder, count: int) -> None:
        while len(recorder.datagrams) < count:
            assert select.select([link], [], [], 10)[0], f"{len(recorder.datagrams)} of {count} datagrams within 10 s"
            assert link.doRead() is None


class LoopbackTests(LinkCase):
    def test_it_provides_the_interfaces(self) -> None:
        link = self.link(RunRecorder())
        verifyObject(ILink, link)
        verifyObject(IReadWriteDescriptor, link)
        assert not link.is_stream

    def test_what_is_sent_has_the_type_of_service_that_was_asked_for_last(self) -> None:
        for host, level, receive, kind in (
            ("127.0.0.1", socket.IPPROTO_IP, socket.IP_RECVTOS, socket.IP_TOS),
            ("::1", socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS),
        ):
            if host == "::1" and not HAS_IPV6:
                continue
            link = self.link(RunRecorder(), host)
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as there:
                there.settimeout(10)
                there.bind((host, 0))
                there.setsockopt(level, receive, 1)
                for tos in (0xB8, 0xB8, 0):
                    link.set_tos(tos)
                    link.send_runs([Run(b"abcd", 2)], there.getsockname())
                    for _ in range(2):
                        _, told, _, _ = there.recvmsg(10, 100)
                        assert [(data[0], found) for _, found, data in told] == [(tos, kind)]
            link.close()
            link.set_tos(8)

    def exchange(self, server_host: str, client_host: str, reach: str) -> tuple[UdpLink, Address]:
        """Send there and back; return the server's link and the address it saw."""
        at_server, at_client = RunRecorder(), RunRecorder()
        server, client = self.link(at_server, server_host), self.link(at_client, client_host)
        target: Address = (reach, self.address(server)[1])
        client.send_control(b"there", target)
        self.receive(server, at_server, 1)
        [[(run, source)]] = at_server.batches
        assert run == single(b"there")
        server.send_runs([single(b"back")], source)
        self.receive(client, at_client, 1)
        assert at_client.batches[0][0][0] == single(b"back")
        assert not server.drops
        return server, source

    def test_ipv4(self) -> None:
        server, source = self.exchange("127.0.0.1", "127.0.0.1", "127.0.0.1")
        assert source[0] == "127.0.0.1"
        assert server.local == f"udp:127.0.0.1:{self.address(server)[1]}"

    def test_ipv6(self) -> None:
        if not HAS_IPV6:
            self.skipTest("no IPv6 here")
        server, _ = self.exchange("::1", "::1", "::1")
        assert server.local == f"udp:[::1]:{self.address(server)[1]}"

    def test_every_address_is_both_versions(self) -> None:
        server, source = self.exchange("", "127.0.0.1", "127.0.0.1")
        assert readable(source).startswith("127.0.0.1:")
        if HAS_IPV6:
            assert source[0] == "::ffff:127.0.0.1"
            self.exchange("", "::1", "::1")
            assert server.local.startswith("udp:[::]:")

    def test_one_version_alone_leaves_the_port_to_the_other(self) -> None:
        if not HAS_IPV6:
            self.skipTest("no IPv6 here")
        with open_udp_socket("", 0, socket.AF_INET6) as six:
            port = six.getsockname()[1]
            with open_udp_socket("", port, socket.AF_INET) as four:
                assert four.getsockname() == ("0.0.0.0", port)

    def test_a_name_is_looked_up(self) -> None:
        with open_udp_socket("localhost", 0, socket.AF_INET) as sock:
            assert sock.getsockname()[0] == "127.0.0.1"

    def test_a_wakeup_is_one_batch_in_order_of_arrival(self) -> None:
        recorder = RunRecorder()
        server, one, other = self.link(recorder), self.link(RunRecorder()), self.link(RunRecorder())
        target = self.address(server)
        one.send_control(b"first", target)
        other.send_control(b"second", target)
        one.send_control(b"third", target)
        self.receive(server, recorder, 3)
        assert recorder.batches == [
            [
                (single(b"first"), self.address(one)),
                (single(b"second"), self.address(other)),
                (single(b"third"), self.address(one)),
            ]
        ]
        assert recorder.links == [server]

    def test_a_run_arrives_as_its_datagrams(self) -> None:
        recorder = RunRecorder()
        server, client = self.link(recorder), self.link(RunRecorder())
        datagrams = [bytes([number]) * 1400 for number in range(99)] + [b"shorter"]
        client.send_runs([Run(b"".join(datagrams), 1400), single(b"alone")], self.address(server))
        self.receive(server, recorder, 101)
        assert recorder.datagrams == [*datagrams, b"alone"]
        assert not client.drops

    def test_a_kernel_with_gro_gives_runs_back(self) -> None:
        recorder = RunRecorder()
        server, client = self.link(recorder), self.link(RunRecorder())
        if not (server._joins and client._segments):
            self.skipTest("this kernel has no UDP_SEGMENT or UDP_GRO")
        run = Run(b"x" * 3500, 1000)
        client.send_runs([run], self.address(server))
        self.receive(server, recorder, 4)
        assert recorder.runs == [run]

    def test_a_run_of_huge_datagrams_goes_singly(self) -> None:
        recorder = RunRecorder()
        server, client = self.link(recorder), self.link(RunRecorder())
        client.send_runs([Run(b"x" * 90000, 60000)], self.address(server))
        self.receive(server, recorder, 2)
        assert [len(datagram) for datagram in recorder.datagrams] == [60000, 30000]

    def test_received_data_stays_as_it_was(self) -> None:
        recorder = RunRecorder()
        server, client = self.link(recorder), self.link(RunRecorder())
        for count, datagram in enumerate((b"first", b"later"), 1):
            client.send_control(datagram, self.address(server))
            self.receive(server, recorder, count)
        assert recorder.datagrams == [b"first", b"later"]

    def answers_from_where_it_was_asked(self, host: str, addresses: Sequence[str]) -> None:
        """One client writes to each address of ours in one wake-up, and hears from each."""
        at_server, at_client = RunRecorder(), RunRecorder()
        server = self.link(at_server, host, SocketOptions(multihome=Multihome.ADDRESS))
        client = self.link(at_client, "::1" if ":" in addresses[0] else "127.0.0.1")
        port = self.address(server)[1]
        for address in addresses:
            client.send_runs([Run(b"x" * 2500, 1000)], (address, port))
        self.receive(server, at_server, 3 * len(addresses))
        paths = [path for batch in at_server.batches for _, path in batch]
        assert len(set(paths)) == len(addresses)
        assert {readable(path) for path in paths} == {readable(self.address(client))}
        for path in dict.fromkeys(paths):
            server.send_control(b"single", path)
            server.send_runs([Run(b"y" * 2500, 1000)], path)
        self.receive(client, at_client, 4 * len(addresses))
        sources = [source[0] for batch in at_client.batches for _, source in batch]
        assert list(dict.fromkeys(sources)) == list(addresses)
        assert not server.drops

    def test_a_multihomed_link_answers_from_the_address_that_was_asked(self) -> None:
        self.answers_from_where_it_was_asked("0.0.0.0", ["127.0.0.2", "127.0.0.1", "127.9.9.9"])

    def test_a_multihomed_link_of_both_versions(self) -> None:
        if not HAS_IPV6:
            self.skipTest("no IPv6 here")
        self.answers_from_where_it_was_asked("", ["127.0.0.2", "127.0.0.1"])
        self.answers_from_where_it_was_asked("", ["::1"])

    def test_a_multihomed_link_may_send_to_plain_addresses_too(self) -> None:
        recorder = RunRecorder()
        server = self.link(recorder)
        sender = self.link(RunRecorder(), options=SocketOptions(multihome=Multihome.INTERFACE))
        sender.send_control(b"x", self.address(server))
        self.receive(server, recorder, 1)

    def test_one_wakeup_reads_a_bounded_number(self) -> None:
        recorder = RunRecorder()
        server, client = self.link(recorder), self.link(RunRecorder())
        for _ in range(100):
            client.send_control(b"x", self.address(server))
        self.receive(server, recorder, 100)
        assert [batch[0][0] for batch in recorder.batches] == [Run(b"x" * 64, 1), Run(b"x" * 36, 1)]

    def test_an_empty_datagram_is_counted_not_handed_on(self) -> None:
        recorder = RunRecorder()
        server, client = self.link(recorder), self.link(RunRecorder())
        client.send_control(b"", self.address(server))
        client.send_control(b"x", self.address(server))
        self.receive(server, recorder, 1)
        assert recorder.datagrams == [b"x"]
        assert server.drops == {"empty": 1}

    def test_what_no_datagram_can_hold_is_dropped_and_counted(self) -> None:
        client = self.link(RunRecorder())
        client.send_control(bytes(65536), self.address(client))
        assert client.drops == {"too-long": 1}

    def test_the_buffers_are_large(self) -> None:
        with open_udp_socket("127.0.0.1") as ours, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            size, usual = (sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for sock in (ours, plain))
            assert size >= usual

    def test_a_receiver_that_fails_does_not_end_the_link(self) -> None:
        class Failing(RunRecorder):
            def runs_received(self, link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
                super().runs_received(link, batch)
                raise ZeroDivisionError

        recorder = Failing()
        server, client = self.link(recorder), self.link(RunRecorder())
        for count in (1, 2):
            client.send_control(b"x", self.address(server))
            self.receive(server, recorder, count)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 2  # type: ignore[no-untyped-call]  # it is trial's

    def test_close_ends_it_without_a_word(self) -> None:
        recorder = RunRecorder()
        link = self.link(recorder)
        assert self.reactor.getReaders() == [link]
        link.close()
        link.close()
        assert self.reactor.getReaders() == []
        assert link.fileno() == -1
        link.send_control(b"late", ("127.0.0.1", 9))
        link.send_runs([Run(b"aabbc", 2)], ("127.0.0.1", 9))
        assert link.drops == {"closed": 4}
        assert recorder.lost == []

    def test_a_socket_that_fails_is_told_once(self) -> None:
        recorder = RunRecorder()
        link = self.link(recorder)
        reason = Failure(ConnectionLost())
        link.connectionLost(reason)
        link.connectionLost(reason)
        assert recorder.lost == [reason]
        assert link.fileno() == -1


class CompiledLoopbackTests(LoopbackTests):
    """The same with what was built at installation."""

    skip = None if _compiled is not None else "the compiled reader was not built"
    open_reader = None if _compiled is None else _compiled.DatagramReader  # type: ignore[assignment]  # skipped then


class RefusalTests(SynchronousTestCase):
    def refusal(self, host: str, port: int) -> str:
        with pytest.raises(EnvironmentRefusal) as caught:
            open_udp_socket(host, port)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_a_port_in_use_is_named(self) -> None:
        with open_udp_socket("127.0.0.1") as sock:
            port = sock.getsockname()[1]
            line = self.refusal("127.0.0.1", port)
        assert f"127.0.0.1:{port}" in line
        assert f"another program has port {port}" in line

    def test_an_address_of_another_machine(self) -> None:
        assert "no interface of this machine has that address" in self.refusal("192.0.2.1", 1194)

    def test_a_name_without_an_address_of_that_version(self) -> None:
        with pytest.raises(EnvironmentRefusal, match="no address of that name"):
            open_udp_socket("127.0.0.1", 1194, socket.AF_INET6)

    def test_a_reserved_port(self) -> None:
        class Reserving(socket.socket):
            def bind(self, address: Any) -> None:
                raise PermissionError(errno.EACCES, "Permission denied")

        self.patch(socket, "socket", Reserving)  # type: ignore[no-untyped-call]  # it is trial's
        assert "CAP_NET_BIND_SERVICE" in self.refusal("127.0.0.1", 443)
        assert "CAP_NET_BIND_SERVICE" not in self.refusal("127.0.0.1", 1194)


class StubbornSocket:
    """A socket whose sends fail with the errnos it is told, one each, and then go through."""

    family = socket.AF_INET

    def __init__(self, *, unknown: Sequence[int] = ()) -> None:
        self.send_errors: list[int] = []
        self.segment_error: int | None = None
        self.receive: list[int | bytes] = []
        self.sent: list[bytes] = []
        self.attempts = 0
        self._unknown = unknown

    def setsockopt(self, _level: int, option: int, _value: int) -> None:
        if option in self._unknown:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    def getsockname(self) -> Address:
        return ("192.0.2.1", 1194)

    def fileno(self) -> int:
        return -1

    def sendto(self, data: bytes, _address: Address) -> None:
        if self.send_errors:
            raise OSError(self.send_errors.pop(0), "no")
        self.sent.append(bytes(data))

    def sendmsg(self, buffers: Sequence[bytes], _control: object, _flags: int, address: Address) -> None:
        self.attempts += 1
        if self.segment_error is not None:
            raise OSError(self.segment_error, "no")
        self.sendto(b"".join(buffers), address)

    def recvmsg_into(self, buffers: Sequence[bytearray], _size: int) -> tuple[int, list[Any], int, Address]:
        item = self.receive.pop(0) if self.receive else errno.EAGAIN
        if isinstance(item, int):
            raise OSError(item, "no")
        buffers[0][: len(item)] = item
        return len(item), [], 0, ("192.0.2.9", 5)

    def close(self) -> None:
        pass


class StubbornSocketTests(SynchronousTestCase):
    address: Address = ("192.0.2.9", 5)

    def link(self, sock: StubbornSocket, recorder: RunRecorder | None = None) -> UdpLink:
        receiver = recorder or RunRecorder()
        return UdpLink(MemoryReactor(), cast("socket.socket", sock), receiver, open_reader=DatagramReader)

    def test_drops_are_counted_by_reason(self) -> None:
        sock = StubbornSocket()
        link = self.link(sock)
        sock.send_errors = [errno.EAGAIN, errno.ENOBUFS, errno.EPERM, errno.ENETUNREACH, errno.ECONNREFUSED]
        for _ in range(6):
            link.send_runs([single(b"x")], self.address)
        assert link.drops == {"full": 2, "filtered": 1, "unreachable": 2}
        assert sock.sent == [b"x"]

    def test_control_packets_wait_for_room_in_a_full_socket_and_go_before_data(self) -> None:
        sock, reactor = StubbornSocket(), MemoryReactor()
        link = UdpLink(reactor, cast("socket.socket", sock), RunRecorder(), open_reader=DatagramReader)
        sock.send_errors = [errno.EAGAIN] * 5
        link.send_control(b"first", self.address)
        link.send_control(b"second", self.address)
        assert reactor.getWriters() == [link]
        link.send_runs([single(b"data")], self.address)
        assert sock.sent == []
        assert link.drops == {"full": 1}, "the data"
        link.doWrite()
        assert reactor.getWriters() == [link]
        sock.send_errors = [errno.EPERM]
        link.send_runs([single(b"more")], self.address)
        assert sock.sent == [b"second", b"more"]
        assert link.drops == {"full": 1, "filtered": 1}
        link.doWrite()
        assert reactor.getWriters() == []

    def test_no_more_than_a_bound_waits(self) -> None:
        sock, reactor = StubbornSocket(), MemoryReactor()
        link = UdpLink(reactor, cast("socket.socket", sock), RunRecorder(), open_reader=DatagramReader)
        sock.send_errors = [errno.EAGAIN] * CONTROL_KEPT
        for _ in range(CONTROL_KEPT + 3):
            link.send_control(b"x", self.address)
        assert link.drops == {"full": 3}
        link.close()
        assert reactor.getWriters() == []
        link.send_control(b"x", self.address)
        assert link._kept == deque()

    def test_a_full_socket_drops_all_datagrams_of_a_send(self) -> None:
        sock = StubbornSocket()
        link = self.link(sock)
        sock.send_errors = [errno.EAGAIN]
        link.send_runs([Run(b"aabbc", 2)], self.address)
        assert link.drops == {"full": 3}

    def test_segments_the_path_refuses_are_sent_singly_and_not_tried_again(self) -> None:
        for code in (errno.EINVAL, errno.EMSGSIZE):
            sock = StubbornSocket()
            link = self.link(sock)
            sock.segment_error = code
            link.send_runs([Run(b"aabbc", 2), Run(b"ddeef", 2)], self.address)
            assert sock.sent == [b"aa", b"bb", b"c", b"dd", b"ee", b"f"]
            assert sock.attempts == 1
            sock.segment_error = None
            link.send_runs([Run(b"123", 1)], self.address)
            link.send_runs([Run(b"gghh", 2)], ("192.0.2.10", 5))
            assert sock.sent[6:] == [b"123", b"gghh"]
            assert not link.drops

    def test_a_route_that_cannot_segment_is_not_asked_again(self) -> None:
        sock = StubbornSocket()
        link = self.link(sock)
        sock.segment_error = errno.EIO
        link.send_runs([Run(b"aabbc", 2), Run(b"123", 1)], self.address)
        assert sock.sent == [b"aa", b"bb", b"c", b"1", b"2", b"3"]
        assert sock.attempts == 1

    def test_a_kernel_without_segmentation_is_not_asked(self) -> None:
        sock = StubbornSocket(unknown=(UDP_SEGMENT, UDP_GRO))
        with capturedLogs() as events:
            self.link(sock).send_runs([Run(b"aabbc", 2)], self.address)
        assert sock.sent == [b"aa", b"bb", b"c"]
        assert sock.attempts == 0
        assert [formatEvent(event) for event in events] == [
            f"udp:192.0.2.1:1194: the kernel has no {name}: datagrams pass singly"
            for name in ("UDP_SEGMENT", "UDP_GRO")
        ]

    def test_icmp_errors_are_counted_and_passed_over(self) -> None:
        sock, recorder = StubbornSocket(), RunRecorder()
        link = self.link(sock, recorder)
        sock.receive = [b"one", errno.ECONNREFUSED, errno.EHOSTUNREACH, b"two"]
        assert link.doRead() is None
        assert recorder.batches == [[(Run(b"one", 3), self.address), (Run(b"two", 3), self.address)]]
        assert link.drops == {"icmp": 2}

    def test_neighbours_of_one_size_are_a_run_that_a_shorter_one_ends(self) -> None:
        sock, recorder = StubbornSocket(), RunRecorder()
        sock.receive = [b"aa", b"bb", b"c", b"d", b"eee"]
        assert self.link(sock, recorder).doRead() is None
        assert recorder.runs == [Run(b"aabbc", 2), Run(b"d", 1), Run(b"eee", 3)]

    def test_datagrams_that_come_thick_and_fast_are_left_to_gather(self) -> None:
        now, waits = [1000.0], list[float]()
        sock = StubbornSocket()
        link = UdpLink(
            MemoryReactor(),
            cast("socket.socket", sock),
            RunRecorder(),
            open_reader=DatagramReader,
            clock=lambda: now[0],
            sleep=waits.append,
        )
        for _ in range(100):
            sock.receive = [b"x"] * 5
            link.doRead()
            now[0] += 0.0001
        assert waits
        waits.clear()
        for _ in range(100):
            sock.receive = [b"x"]
            link.doRead()
            now[0] += 0.001
        assert len(waits) < 2

    def test_what_was_read_before_the_socket_failed_is_handed_on(self) -> None:
        sock, recorder = StubbornSocket(), RunRecorder()
        sock.receive = [b"one", errno.EBADF]
        assert isinstance(self.link(sock, recorder).doRead(), Failure)
        assert recorder.datagrams == [b"one"]


@pytest.mark.interop
class NarrowPathTests(LinkCase):
    """Loopback with the smallest MTU, in a network namespace of its own."""

    skip = None if can_open_tun() else "needs root"

    def setUp(self) -> None:
        super().setUp()
        from twistvpn.tun.netlink import NetworkConfigurator

        namespace = fresh_namespace()
        namespace.__enter__()
        self.addCleanup(namespace.__exit__, None, None, None)
        network = NetworkConfigurator()
        network.set_mtu("lo", 1280)
        network.set_up("lo")

    def test_datagrams_longer_than_the_mtu_arrive_in_fragments(self) -> None:
        recorder = RunRecorder()
        server, client = self.link(recorder), self.link(RunRecorder())
        datagrams = [bytes([number]) * 1400 for number in range(10)]
        for _ in range(2):
            client.send_runs([Run(b"".join(datagrams), 1400)], self.address(server))
        self.receive(server, recorder, 20)
        assert recorder.datagrams == datagrams * 2
        assert not client.drops
        client.send_runs([Run(b"x" * 3000, 1000)], self.address(server))
        self.receive(server, recorder, 23)

    @pytest.mark.shows("mtu-disc")
    def test_a_link_that_must_not_fragment_counts_what_does_not_fit(self) -> None:
        client = self.link(RunRecorder(), options=SocketOptions(mtu_discover=2))
        client.send_control(bytes(1400), self.address(client))
        assert client.drops == {"too-long": 1}


def test_addresses_are_printed_as_people_write_them() -> None:
    assert readable(("192.0.2.1", 1194)) == "192.0.2.1:1194"
    assert readable(("2001:db8::1", 1194, 0, 0)) == "[2001:db8::1]:1194"
    assert readable(("::ffff:192.0.2.1", 1194, 0, 0)) == "192.0.2.1:1194"
    assert readable(("fe80::1%eth0", 1194, 0, 2)) == "[fe80::1%eth0]:1194"
    assert readable(("unix", 0)) == "unix:0"
