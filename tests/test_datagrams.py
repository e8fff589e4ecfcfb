"""The compiled reader of a UDP socket against the one in Python, on loopback."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.udp_sockets import udp_socket
from twistvpn.compiled import find
from twistvpn.interfaces import Multihome, Run
from twistvpn.link.datagrams import GRO_SIZE, SOL_UDP, UDP_GRO, DatagramReader
from twistvpn.link.multihome import CONTROL_SIZE, tell_destinations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import Address
    from twistvpn.link.datagrams import OpenReader

UDP_SEGMENT = 103
IP_RECVERR = 11
WITH_GRO = socket.CMSG_SPACE(GRO_SIZE.size)

_compiled = find("twistvpn.link._datagrams")
pytestmark = pytest.mark.skipif(_compiled is None, reason="the compiled reader was not built")

Batch = list[tuple[Run, "Address"]]


def compiled(sock: socket.socket, control_size: int, multihome: Multihome = Multihome.NO) -> DatagramReader:
    assert _compiled is not None
    made: DatagramReader = _compiled.DatagramReader(sock, control_size, multihome)
    return made


READERS: tuple[OpenReader, ...] = (DatagramReader, compiled)


def read_all(
    open_reader: OpenReader, sock: socket.socket, control_size: int, multihome: Multihome = Multihome.NO
) -> list[tuple[Batch, int]]:
    """What each wake-up brings, until nothing is left."""
    reader = open_reader(sock, control_size, multihome)
    read: list[tuple[Batch, int]] = []
    while True:
        batch, empty, code = reader.read()
        assert code in {0, errno.EAGAIN}
        if not batch and not empty:
            return read
        read.append((batch, empty))


Sent = tuple[int, int, int]
"""Sender, bytes, and the segment size, 0 for one datagram."""


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([0, 1, 7, 14, 15, 1400]), st.sampled_from([0, 0, 7])), max_size=30
    ),
    st.sampled_from([0, WITH_GRO]),
)
def test_both_readers_make_the_same_runs(sends: Sequence[Sent], control_size: int) -> None:
    read = []
    with ExitStack() as stack:
        senders = [udp_socket(stack) for _ in range(2)]
        for open_reader in READERS:
            receiver = udp_socket(stack)
            if control_size:
                receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
            for number, (sender, size, segment) in enumerate(sends):
                cuts = [(SOL_UDP, UDP_SEGMENT, segment.to_bytes(2, "little"))] if 0 < segment < size <= 64 * 7 else []
                senders[sender].sendmsg([bytes([number]) * size], cuts, 0, receiver.getsockname())
            read.append(read_all(open_reader, receiver, control_size))
    in_python, in_c = read
    assert in_c == in_python


@pytest.mark.parametrize("open_reader", READERS)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_addresses_are_as_the_socket_module_gives_them(open_reader: OpenReader, host: str) -> None:
    with ExitStack() as stack:
        try:
            sender, receiver = udp_socket(stack, host), udp_socket(stack, host)
        except OSError:
            pytest.skip("no IPv6 here")
        sender.sendto(b"x", receiver.getsockname())
        assert read_all(open_reader, receiver, 0) == [([(Run(b"x", 1), sender.getsockname())], 0)]


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3), st.sampled_from([7, 7, 5])), max_size=20),
    st.sampled_from([Multihome.ADDRESS, Multihome.INTERFACE]),
    st.sampled_from(["0.0.0.0", "::"]),
)
def test_both_readers_tell_the_same_paths(
    sends: Sequence[tuple[int, int, int]], multihome: Multihome, host: str
) -> None:
    read = []
    with ExitStack() as stack:
        senders = [udp_socket(stack) for _ in range(2)]
        for open_reader in READERS:
            try:
                receiver = udp_socket(stack, host)
            except OSError:
                pytest.skip("no IPv6 here")
            tell_destinations(receiver)
            receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
            port = receiver.getsockname()[1]
            for number, (sender, last, size) in enumerate(sends):
                senders[sender].sendto(bytes([number]) * size, (f"127.0.0.{last}", port))
            read.append(read_all(open_reader, receiver, WITH_GRO + CONTROL_SIZE, multihome))
    in_python, in_c = read
    assert in_c == in_python
    homes = [address[4] for batch, _ in in_c for _, address in batch if len(address) == 5]
    assert {home[-8:-4] if host == "0.0.0.0" else home[12:16] for home in homes} == {
        bytes([127, 0, 0, last]) for _, last, _ in sends
    }
    index = socket.if_nametoindex("lo") if multihome is Multihome.INTERFACE else 0
    at = slice(0, 4) if host == "0.0.0.0" else slice(16, 20)
    assert {int.from_bytes(home[at], "little") for home in homes} <= {index}


@pytest.mark.parametrize("open_reader", READERS)
def test_a_wakeup_is_bounded(open_reader: OpenReader) -> None:
    with ExitStack() as stack:
        sender, receiver = udp_socket(stack), udp_socket(stack)
        for _ in range(100):
            sender.sendto(b"x", receiver.getsockname())
        assert [len(batch[0][0].data) for batch, _ in read_all(open_reader, receiver, WITH_GRO)] == [64, 36]


@pytest.mark.parametrize("open_reader", READERS)
def test_large_datagrams_come_whole(open_reader: OpenReader) -> None:
    with ExitStack() as stack:
        sender, receiver = udp_socket(stack), udp_socket(stack)
        for number in range(20):
            sender.sendto(bytes([number]) * 65507, receiver.getsockname())
        runs = [run for batch, _ in read_all(open_reader, receiver, 0) for run, _ in batch]
        assert b"".join(bytes(run.data) for run in runs) == b"".join(bytes([number]) * 65507 for number in range(20))


@pytest.mark.parametrize("open_reader", READERS)
def test_what_icmp_says_is_an_errno_and_what_follows_is_read(open_reader: OpenReader) -> None:
    with ExitStack() as stack:
        sender, receiver = udp_socket(stack), udp_socket(stack)
        gone = udp_socket(stack)
        receiver.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        reader = open_reader(receiver, WITH_GRO)
        nobody = gone.getsockname()
        gone.close()
        receiver.sendto(b"x", nobody)
        sender.sendto(b"behind", receiver.getsockname())
        assert reader.read() == ([], 0, errno.ECONNREFUSED)
        batch, _, code = reader.read()
        assert batch == [(Run(b"behind", 6), sender.getsockname())]
        assert code in {0, errno.EAGAIN}


@pytest.mark.parametrize("open_reader", READERS)
def test_a_closed_socket_is_told(open_reader: OpenReader) -> None:
    with ExitStack() as stack:
        sock = udp_socket(stack)
        reader = open_reader(sock, 0)
        sock.close()
        assert reader.read() == ([], 0, errno.EBADF)


def test_a_reader_that_is_misused_says_so() -> None:
    class NoNumber:
        def fileno(self) -> str:
            return "none"

    ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, other:
        other.send(b"x")
        with pytest.raises(ValueError, match="IP version"):
            compiled(ours, 0).read()
    with pytest.raises(TypeError):
        compiled(NoNumber(), 0).read()  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        compiled(None, 0).read()  # type: ignore[arg-type]


def test_what_is_compiled_of_links_and_devices_is_clean_under_the_sanitizers() -> None:
    fuzzer = Path(__file__).with_name("fuzz_edges.py")
    command = [sys.executable, str(fuzzer), "--seconds", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
