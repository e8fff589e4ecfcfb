"""Microseconds a packet costs in each step of the data path: `python -m bench.data_path [packet size]`.

Each figure is the best of several repetitions over one batch of a full run, so that a noisy machine
disturbs it least.
"""

from __future__ import annotations

import os
import struct
import sys
import timeit
from ipaddress import ip_address
from typing import TYPE_CHECKING

from twistvpn.crypto.derive import DataKeys, DirectionKeys
from twistvpn.data import kernel
from twistvpn.data.channel import Channel, DataKey
from twistvpn.data.formats import PacketFormat
from twistvpn.data.offload import VnetHeader
from twistvpn.data.routes import RouteTable
from twistvpn.interfaces import Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from twistvpn.interfaces import Buffer

REPETITIONS = 30
FORMATS = [
    ("AES-256-GCM", PacketFormat.CLASSIC),
    ("AES-256-GCM", PacketFormat.EPOCH),
    ("CHACHA20-POLY1305", PacketFormat.EPOCH),
    ("AES-256-CBC", PacketFormat.CLASSIC),
]


def super_packet(payload_size: int, count: int) -> Frame:
    """One TCP super-packet of `count` segments with `payload_size` bytes each."""
    payload = os.urandom(payload_size * count)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 52 + len(payload), 1, 0x4000, 64, 6, 0)
    ends = ip_address("10.8.0.2").packed + ip_address("10.8.0.1").packed
    transport = struct.pack(">HHIIBBHHH", 5201, 40000, 1, 1, 0x80, 0x10, 512, 0, 0) + b"\1\1\x08\x0a" + bytes(8)
    return Frame(header + ends + transport + payload, VnetHeader(1, 1, 52, payload_size, 20, 16).encode())


def channel_pair(cipher: str, packet_format: PacketFormat) -> tuple[Channel, Channel]:
    """Two channels whose keys fit each other."""
    one, other = (DirectionKeys(os.urandom(64), os.urandom(64)) for _ in range(2))
    ours, theirs = Channel(max_mss=1400), Channel(max_mss=1400)
    for channel, keys in ((ours, DataKeys(one, other)), (theirs, DataKeys(other, one))):
        channel.install(DataKey(0, cipher, keys, 1, auth="SHA256", packet_format=packet_format), 0.0)
    return ours, theirs


def report(name: str, count: int, step: Callable[[], object]) -> None:
    """Time `step`, which handles `count` packets."""
    best = min(timeit.repeat(step, number=1, repeat=REPETITIONS))
    print(f"{name:<44} {best * 1e6 / count:8.2f} us a packet")


def main(packet_size: int) -> None:
    """Print all figures for packets of `packet_size` bytes."""
    count = min(64, 65000 // packet_size)
    frame = super_packet(packet_size - 52, count)
    packets: list[Buffer] = kernel.segment(frame)
    frames = [Frame(packet) for packet in packets]
    routes: RouteTable[str] = RouteTable()
    routes.add(ip_address("10.8.0.1"), "peer")
    routes.add(ip_address("10.8.0.2"), "peer")
    print(f"{count} packets of {packet_size} bytes")
    report("segment", count, lambda: kernel.segment(frame))
    report("coalesce", count, lambda: kernel.coalesce(packets))
    report("clamp_mss (nothing to clamp)", count, lambda: kernel.clamp_mss(packets, 1400))
    report("routes.split_by_peer", count, lambda: routes.split_by_peer(frames))
    report("routes.check_sources", count, lambda: routes.check_sources("peer", packets))
    for cipher, packet_format in FORMATS:
        ours, theirs = channel_pair(cipher, packet_format)
        name = cipher if packet_format is PacketFormat.CLASSIC else f"{cipher}, epochs"
        sealed = iter([ours.seal(frames, 1.0) for _ in range(REPETITIONS)])
        report(f"channel.seal, packets, {name}", count, lambda channel=ours: channel.seal(frames, 1.0))  # type: ignore[misc]
        report(f"channel.seal, super-packet, {name}", count, lambda channel=ours: channel.seal([frame], 1.0))  # type: ignore[misc]
        report(
            f"channel.open, {name}",
            count,
            lambda channel=theirs, batches=sealed: [channel.open(run, 1.0) for run in next(batches)],  # type: ignore[misc]
        )
    single_frame = [frames[0]]
    ours, theirs = channel_pair("AES-256-GCM", PacketFormat.EPOCH)
    alone = iter([ours.seal(single_frame, 1.0)[0] for _ in range(REPETITIONS)])
    report("channel.seal, a batch of one, AES-256-GCM", 1, lambda: ours.seal(single_frame, 1.0))
    report("channel.open, a batch of one, AES-256-GCM", 1, lambda: theirs.open(next(alone), 1.0))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1400)
