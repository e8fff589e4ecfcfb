"""Fuzz the compiled kernel and tls-crypt under AddressSanitizer and UBSan, comparing them with the pure ones.

    python tests/fuzz_kernel.py [--seconds N] [--seed N]

See `tests.sanitized`.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.inner_packets import tcp, udp
from tests.packet_formats import KINDS
from tests.sanitized import Module, main
from twistvpn.crypto.siv import PureSivKeys
from twistvpn.data import pure
from twistvpn.data.messages import OCC_MAGIC, PING
from twistvpn.data.offload import VnetHeader
from twistvpn.errors import MalformedPacket
from twistvpn.interfaces import NO_OFFLOAD, Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from twistvpn.crypto.siv import SivKeys
    from twistvpn.data.kernel import Kernel
    from twistvpn.interfaces import Buffer

KERNEL = Module("twistvpn.data._kernel", ["twistvpn/data/csrc/*.c", "twistvpn/crypto/csrc/mac.c"], ["crypto"])
SIV = Module("twistvpn.crypto._siv", ["twistvpn/crypto/csrc/*.c"], ["crypto"])
IPV4, IPV6 = ("10.8.0.2", "10.8.0.1"), ("fd00::2", "fd00::1")
INTERESTING = (0, 1, 2, 5, 6, 7, 10, 16, 19, 20, 21, 24, 39, 40, 41, 48, 60, 100, 255, 256, 0x7FFF, 0x8000, 0xFFFF)


class Generator:
    """Makes inputs, most of them nearly right."""

    def __init__(self, seed: int) -> None:
        self.random: Random = random.Random(seed)

    def number(self) -> int:
        """A 16-bit number, often one at an edge."""
        return self.random.choice(INTERESTING) if self.random.random() < 0.7 else self.random.randrange(65536)

    def packet(self) -> bytes:
        """An IP packet, perhaps spoilt or cut short."""
        choose = self.random
        if choose.random() < 0.1:
            return choose.randbytes(choose.choice((0, 1, 19, 20, 33, 34, 40, 60, 200)))
        ends = choose.choice((IPV4, IPV6))
        text = bytes(choose.choice((0, 1, 2, 7, 100, 101, 1400, 5000, 60000 if choose.random() < 0.05 else 3)))
        if choose.random() < 0.3:
            packet = bytearray(udp(*ends, text, identification=choose.randrange(3)))
        else:
            options = choose.choice((b"", b"\2\4\5\xb4", b"\1" * 5 + b"\2\4\5\xb4\0\0\0", b"\1\1\x08\x0a" + bytes(8)))
            flags = choose.choice((0x10, 0x10, 0x10, 0x18, 0x02, 0x12, 0x90, 0x11, choose.randrange(256)))
            sequence, ip_options = choose.randrange(4) * 100, choose.choice((b"", b"", b"\x94\x04\0\0"))
            packet = bytearray(tcp(*ends, text, sequence=sequence, flags=flags, options=options, ip_options=ip_options))
        for _ in range(choose.choice((0, 0, 0, 1, 2, 5))):
            packet[choose.randrange(min(len(packet), 90))] = choose.choice((0, 1, 4, 0x40, 0x45, 0x60, 0xF0, 0xFF))
        if choose.random() < 0.1:
            del packet[choose.randrange(len(packet)) :]
        return bytes(packet)

    def frame(self) -> Frame:
        """A frame, often with a virtio-net header that lies."""
        choose = self.random
        packet = self.packet()
        if choose.random() < 0.3:
            return Frame(packet)
        if choose.random() < 0.05:
            return Frame(packet, choose.randbytes(choose.randrange(14)))
        version = packet[0] >> 4 if packet else 0
        start = (packet[0] & 15) * 4 if version == 4 else 40
        kind = choose.choice((0, 1, 4, 5, 0x81, 0x84, 3))
        field = 6 if kind == 5 else 16
        fields = [choose.choice((0, 1)), kind, self.number(), choose.choice((1, 7, 100, 1400, 1000)), start, field]
        for at in range(2, 6):
            if choose.random() < 0.1:
                fields[at] = self.number()
        if fields[3] < 50 and len(packet) > 3000:
            fields[3] = 50
        return Frame(packet, VnetHeader(*fields).encode())

    def ethernet(self, frame: Frame) -> Frame:
        """The same behind an Ethernet header."""
        choose = self.random
        kind = choose.choice((b"\x08\x00", b"\x86\xdd", b"\x08\x06"))
        tags = [choose.choice((b"\x81\x00\0\x0a", b"\x88\xa8\0\x14")) for _ in range(choose.choice((0, 0, 1, 2, 3)))]
        header = (choose.choice((b"\2", b"\3")) * 12 + b"".join(tags) + kind)[: choose.choice((99, 99, 99, 13))]
        vnet = frame.vnet
        if len(vnet) == len(NO_OFFLOAD) and vnet != NO_OFFLOAD:
            known = VnetHeader.decode(vnet)
            vnet = known._replace(csum_start=min(known.csum_start + len(header), 0xFFFF)).encode()
        return Frame(header + bytes(frame.packet), vnet)

    def held(self, data: bytes) -> Buffer:
        """The same bytes in memory of their own, so that one byte too many is noticed."""
        return self.random.choice((bytes, bytearray, memoryview))(bytearray(data))


def attempt(call: Callable[[], object]) -> object:
    """Return what `call` gives, or the kind of its refusal."""
    try:
        return call()
    except (MalformedPacket, ValueError) as error:
        return type(error)


def same(one: Callable[[], object], other: Callable[[], object]) -> None:
    """Fail unless both give the same."""
    ours, theirs = attempt(one), attempt(other)
    if ours != theirs:
        raise AssertionError(f"{ours!r:.2000} is not {theirs!r:.2000}")


def fuzz_packets(kernel: Kernel, make: Generator) -> None:
    """Segment, coalesce, clamp and sort a batch."""
    frame = make.frame()
    held = Frame(make.held(bytes(frame.packet)), frame.vnet)
    same(lambda: kernel.segment(held), lambda: pure.segment(frame))
    packets: list[Buffer] = [make.packet() for _ in range(make.random.randrange(8))]
    if make.random.random() < 0.5 and frame.vnet != NO_OFFLOAD:
        cut = attempt(lambda: pure.segment(frame))
        packets += cut[:70] if isinstance(cut, list) else []
    own: list[Buffer] = [make.held(bytes(packet)) for packet in packets]
    offloads = make.random.choice((0x66, 0x66, 0x66, make.random.randrange(128)))
    same(lambda: kernel.coalesce(own, offloads), lambda: pure.coalesce(packets, offloads))
    same(lambda: kernel.by_source(own), lambda: pure.by_source(packets))
    frames, own_frames = [Frame(packet) for packet in packets], [Frame(packet) for packet in own]
    same(lambda: kernel.by_destination(own_frames), lambda: pure.by_destination(frames))
    largest = make.number()
    kernel.clamp_mss(own, largest)
    pure.clamp_mss(packets, largest)
    assert own == packets


def spoilt(make: Generator, run: bytes, prefix_size: int) -> bytes:
    """A run, perhaps with another byte, another epoch or no end."""
    choose, data = make.random, bytearray(run)
    if choose.random() < 0.3:
        data[choose.randrange(len(data))] ^= choose.randrange(256)
    if choose.random() < 0.1 and len(data) > prefix_size + 2:
        data[prefix_size + 1] ^= choose.randrange(32)
    if choose.random() < 0.1:
        del data[choose.randrange(len(data)) :]
    return bytes(data)


def fuzz_ethernet(kernel: Kernel, make: Generator) -> None:
    """Segment, coalesce, clamp and sort a batch of Ethernet frames."""
    choose = make.random
    frames = [make.ethernet(make.frame()) for _ in range(choose.randrange(4))]
    own = [Frame(make.held(bytes(frame.packet)), frame.vnet) for frame in frames]
    largest = choose.choice((0, 1000, make.number()))
    same(lambda: kernel.segment_ethernet(own, largest), lambda: pure.segment_ethernet(frames, largest))
    packets = [bytes(packet) for packet in pure.segment_ethernet(frames, 0)[0][:70]]
    held: list[Buffer] = [make.held(packet) for packet in packets]
    offloads = choose.choice((0x66, 0x66, 0, choose.randrange(128)))
    same(lambda: kernel.coalesce_ethernet(held, offloads), lambda: pure.coalesce_ethernet(packets, offloads))
    same(lambda: kernel.by_ethernet_source(held), lambda: pure.by_ethernet_source(packets))
    same(lambda: kernel.by_stations(own), lambda: pure.by_stations(frames))
    texts = [*packets, PING, OCC_MAGIC + choose.randbytes(choose.randrange(3))]
    choose.shuffle(texts)
    held = [make.held(text) for text in texts]
    same(lambda: kernel.sort_ethernet(held, largest), lambda: pure.sort_ethernet(texts, largest))


def fuzz_keys(kernel: Kernel, make: Generator) -> None:
    """Seal batches, spoil the runs and open them."""
    choose = make.random
    kind = choose.choice(KINDS)
    prefix = choose.choice((b"\x30", b"\x48\0\0\1"))
    window = choose.choice((1, 2, 63, 64, 65, 128))
    ours, theirs = (kind.sealer(each, prefix) for each in (kernel, pure))
    opening, reference = (kind.opener(each, window) for each in (kernel, pure))
    for now in range(3):
        frames = [make.frame() for _ in range(choose.randrange(6))]
        largest = choose.choice((0, 0, 1000, make.number()))
        runs, malformed = ours.seal(frames, largest)
        if kind.is_random:
            again, bad = theirs.seal(frames, largest)
            assert malformed == bad
            assert [(len(run.data), run.size) for run in runs] == [(len(run.data), run.size) for run in again]
            runs = choose.choice((runs, again))
        else:
            assert (runs, malformed) == theirs.seal(frames, largest)
        for run in [*runs, *runs[:1]]:
            data, size = spoilt(make, bytes(run.data), len(prefix)), run.size
            if choose.random() < 0.1:
                size = make.number()
            held, length = make.held(data), choose.choice((len(prefix),) * 20 + (1, 4))
            if choose.random() < 0.7:
                same(
                    lambda: opening.open(held, size, length, now * 9.0, largest),  # noqa: B023
                    lambda: reference.open(data, size, length, now * 9.0, largest),  # noqa: B023
                )
            else:
                same(
                    lambda: opening.open_unsorted(held, size, length, now * 9.0),  # noqa: B023
                    lambda: reference.open_unsorted(data, size, length, now * 9.0),  # noqa: B023
                )
        jump = choose.choice((0, 1, 64, 1000, 1 << 30))
        ours.packet_id = theirs.packet_id = theirs.packet_id + jump
        if kind.has_epochs and choose.random() < 0.7:
            step = choose.choice((1, 1, 2, 16, 17))
            for each in (ours, theirs):
                each.advance(each.epoch + step)  # type: ignore[attr-defined]


def fuzz_siv(keys: Callable[[bytes, bytes], SivKeys], make: Generator) -> None:
    """Seal a control packet, spoil it and open it."""
    choose = make.random
    sizes = (0, 1, 31, 32, 32, 32, 64)
    cipher, hmac = (choose.randbytes(choose.choice(sizes)) for _ in range(2))
    same(lambda: type(keys(cipher, hmac)) and None, lambda: type(PureSivKeys(cipher, hmac)) and None)
    if min(len(cipher), len(hmac)) < 32:
        return
    ours, theirs = keys(cipher, hmac), PureSivKeys(cipher, hmac)
    for _ in range(3):
        associated, text = (choose.randbytes(choose.choice((0, 1, 17, 100, 1250))) for _ in range(2))
        sealed = ours.seal(associated, text)
        assert sealed == theirs.seal(associated, text)
        data = bytearray(sealed)
        if choose.random() < 0.5:
            data[choose.randrange(len(data))] ^= choose.randrange(256)
        if choose.random() < 0.3:
            del data[choose.randrange(len(data)) :]
        assert ours.open(associated, bytes(data)) == theirs.open(associated, bytes(data))


def fuzz(modules: Mapping[str, Any], seed: int) -> None:
    """Fuzz the modules."""
    kernel: Kernel = modules[KERNEL.name]
    make = Generator(seed)
    fuzz_packets(kernel, make)
    fuzz_ethernet(kernel, make)
    fuzz_keys(kernel, make)
    fuzz_siv(modules[SIV.name].SivKeys, make)


if __name__ == "__main__":
    main(__doc__, [KERNEL, SIV], fuzz)
