"""The compiled kernel against the pure one: the same bytes out, the same drops, whatever goes in."""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
import threading
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inner_packets import ACK, CWR, DF, FIN, PSH, SYN, tcp, udp
from tests.packet_formats import CBC, CLASSIC, EPOCHS, KEY, KINDS, SECOND_KEY, Kind
from twistvpn.compiled import VARIABLE, find, wanted
from twistvpn.data import kernel, pure
from twistvpn.data.offload import VnetHeader
from twistvpn.data.opened import Opened
from twistvpn.errors import MalformedPacket, PacketIdExhausted
from twistvpn.interfaces import NO_OFFLOAD, Buffer, Frame, Run

if TYPE_CHECKING:
    from collections.abc import Callable

FUZZER = Path(__file__).with_name("fuzz_kernel.py")
FUZZ_SECONDS = 5

IPV4 = ("10.8.0.2", "10.8.0.1")
IPV6 = ("fd00::2", "fd00::1")
IV = SECOND_KEY
V1, V2 = b"\x33", b"\x4b\1\2\3"

_compiled = cast("kernel.Kernel | None", find("twistvpn.data._kernel"))
compiled = _compiled or pure
pytestmark = pytest.mark.skipif(_compiled is None, reason="the compiled kernel was not built")

ends = st.sampled_from([IPV4, IPV6])


@st.composite
def ip_packets(draw: st.DrawFn) -> bytes:
    """Packets of few flows, some of them handshakes, some with a few bytes spoilt or cut off, some no packets."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=90))
    text = draw(st.integers(0, 40)) * b"t"
    if kind < 4:
        packet = udp(*draw(ends), text, identification=draw(st.integers(0, 2)), fragment=draw(st.sampled_from([0, DF])))
    else:
        packet = tcp(
            *draw(ends),
            text,
            sequence=draw(st.sampled_from([0xFFFFFFF0, 0, 20, 40])),
            flags=draw(st.sampled_from([ACK, ACK | PSH, ACK | FIN, SYN, ACK | SYN, ACK | CWR])),
            options=draw(st.sampled_from([b"", b"\2\4\5\xb4", b"\1\2\4\5\xb4\1\1\1", b"\1\1\x08\x0a" + bytes(8)])),
            fragment=draw(st.sampled_from([0, DF])),
            ip_options=draw(st.sampled_from([b"", b"\x94\x04\0\0"])) if kind == 9 else b"",
        )
    spoilt = bytearray(packet)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        spoilt[draw(st.integers(0, 79)) % len(spoilt)] = draw(st.integers(0, 255))
    return bytes(spoilt[: draw(st.sampled_from([None, None, None, 19, 33, 47]))])


@st.composite
def streams(draw: st.DrawFn) -> list[Buffer]:
    """Segments of one flow behind each other, a few other packets between them, a few bytes spoilt."""
    which, size, count = draw(ends), draw(st.sampled_from([1, 2, 7, 40, 300])), draw(st.integers(1, 12))
    make, fragment = draw(st.sampled_from([tcp, udp])), draw(st.sampled_from([0, DF]))
    packets: list[Buffer] = []
    for index in range(count):
        text = bytes((index,)) * size
        if make is udp:
            packets.append(udp(*which, text, identification=index, fragment=fragment))
            continue
        flags = draw(st.sampled_from([ACK, ACK, ACK, ACK | PSH, ACK | CWR]))
        sequence, options = 0xFFFFFF80 + size * index, b"\1\1\1\0"
        packets.append(
            tcp(
                *which,
                text,
                sequence=sequence,
                flags=flags,
                options=options,
                identification=index,
                fragment=fragment,
            )
        )
    for _ in range(draw(st.integers(0, 2))):
        packets.insert(draw(st.integers(0, len(packets))), draw(ip_packets()))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(packets) - 1))
        spoilt = bytearray(packets[at])
        if spoilt:
            spoilt[draw(st.integers(0, 89)) % len(spoilt)] ^= draw(st.integers(0, 255))
        packets[at] = bytes(spoilt)
    return packets


vnet_headers = st.one_of(
    st.just(NO_OFFLOAD),
    st.builds(
        lambda *fields: VnetHeader(*fields).encode(),
        st.sampled_from([0, 1, 1, 1, 2, 3]),
        st.sampled_from([0, 1, 4, 5, 0x81, 3]),
        st.integers(0, 0xFFFF),
        st.sampled_from([0, 1, 7, 16, 20, 0xFFFF]),
        st.sampled_from([0, 20, 24, 40, 48, 0xFFFF]),
        st.sampled_from([0, 6, 16, 0xFFFF]),
    ),
    st.binary(max_size=12),
)
frames = st.builds(Frame, ip_packets(), vnet_headers)


def outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except (MalformedPacket, PacketIdExhausted) as error:
        return type(error)


@given(frames)
def test_segments_are_the_same(frame: Frame) -> None:
    assert outcome(lambda: compiled.segment(frame)) == outcome(lambda: pure.segment(frame))


@given(ends, st.integers(0, 3000), st.integers(1, 1500), st.sampled_from(["udp", "tcp", "tcp that closes"]))
def test_segments_of_sound_super_packets_are_the_same(
    which: tuple[str, str], length: int, size: int, kind: str
) -> None:
    header = 20 if which is IPV4 else 40
    text = bytes(index % 251 for index in range(length))
    if kind == "udp":
        frame = Frame(udp(*which, text, identification=0xFFFF), VnetHeader(1, 5, 0, size, header, 6).encode())
    else:
        flags = ACK | CWR | (0 if kind == "tcp" else FIN | PSH)
        packet = tcp(*which, text, flags=flags, sequence=0xFFFFFF00, options=b"\1\1\x08\x0a" + bytes(8))
        frame = Frame(packet, VnetHeader(1, 0x81 if header == 20 else 0x84, 0, size, header, 16).encode())
    assert outcome(lambda: compiled.segment(frame)) == outcome(lambda: pure.segment(frame))


offloads = st.sampled_from([0x66, 0x66, 0, 0x02, 0x04, 0x20, 0x40])


@given(st.lists(ip_packets(), max_size=12) | streams(), offloads)
def test_coalesced_frames_are_the_same(packets: list[Buffer], accepted: int) -> None:
    assert compiled.coalesce(packets, accepted) == pure.coalesce(packets, accepted)


def test_long_batches_of_many_flows_are_coalesced_the_same() -> None:
    packets: list[Buffer] = [
        udp("10.8.0.2", "10.8.0.1", bytes(20), ports=(flow, 53), identification=index)
        for index in range(80)
        for flow in range(1, 60)
    ]
    assert compiled.coalesce(packets) == pure.coalesce(packets)


@given(st.lists(ip_packets(), max_size=6), st.sampled_from([0, 1, 19, 1000, 1460, 0xFFFF]))
def test_clamped_packets_are_the_same(packets: list[Buffer], largest: int) -> None:
    one, other = list(packets), list(packets)
    compiled.clamp_mss(one, largest)
    pure.clamp_mss(other, largest)
    assert one == other


@given(st.lists(ip_packets(), max_size=12))
def test_addresses_are_the_same(packets: list[Buffer]) -> None:
    views: list[Buffer] = [memoryview(packet) for packet in packets]
    assert compiled.by_source(packets) == pure.by_source(packets) == pure.by_source(views)
    given_frames = [Frame(packet) for packet in packets]
    assert compiled.by_destination(given_frames) == pure.by_destination(given_frames)


AES, EPOCH = CLASSIC[0], EPOCHS[0]


def sealers(kind: Kind, prefix: bytes) -> tuple[kernel.AnySealer, kernel.AnySealer]:
    return kind.sealer(compiled, prefix), kind.sealer(pure, prefix)


def openers(kind: Kind, window: int = 64) -> tuple[kernel.AnyOpener, kernel.AnyOpener]:
    return kind.opener(compiled, window), kind.opener(pure, window)


def sealed_size(kind: Kind, prefix: bytes, text_size: int) -> int:
    """The size of the datagram that a packet of `text_size` bytes becomes."""
    ((run,), _) = kind.sealer(compiled, prefix).seal([Frame(bytes(text_size))])
    return run.size


def clear_text(kind: Kind, runs: list[Run], prefix: bytes) -> object:
    """Runs whose bytes may be random, as what a fresh opener makes of them."""
    opener = kind.opener(pure)
    return [(run.size, len(run.data), opener.open_unsorted(run.data, run.size, len(prefix), 0.0)) for run in runs]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(
    batches=st.lists(st.lists(frames, max_size=8), max_size=3),
    prefix=st.sampled_from([V1, V2]),
    largest_mss=st.sampled_from([0, 0, 1000]),
    first=st.sampled_from([0, 0, 0xFFFFFFFF - 9]),
    room=st.integers(-100, 3000),
)
def test_sealed_runs_are_the_same(
    kind: Kind, batches: list[list[Frame]], prefix: bytes, largest_mss: int, first: int, room: int
) -> None:
    ours, theirs = sealers(kind, prefix)
    ours.packet_id = theirs.packet_id = first
    empty = sealed_size(kind, prefix, 0)
    for batch in batches:
        one = outcome(lambda: ours.seal(batch, largest_mss))  # noqa: B023
        other = outcome(lambda: theirs.seal(batch, largest_mss))  # noqa: B023
        if kind.is_random and isinstance(one, tuple) and isinstance(other, tuple):
            good = [run for run in one[0] if len(run.datagrams()[-1]) > empty]
            same = [run for run in other[0] if len(run.datagrams()[-1]) > empty]
            assert clear_text(kind, good, prefix) == clear_text(kind, same, prefix)
        else:
            assert one == other
        assert (ours.packet_id, ours.blocks) == (theirs.packet_id, theirs.blocks)
    largest = ours.largest_text(room)
    assert largest == theirs.largest_text(room)
    if largest >= 0:
        assert sealed_size(kind, prefix, largest) <= room < sealed_size(kind, prefix, largest + 1)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 20, 100, 1400, 2000, 65483, 66000]), st.integers(1, 70)), max_size=4))
def test_packets_of_any_size_are_sealed_and_opened_the_same(sizes: list[tuple[int, int]]) -> None:
    batch = [Frame(bytes(size)) for size, count in sizes for _ in range(count)]
    (ours, theirs), opening = sealers(AES, V2), openers(AES)
    runs, _ = ours.seal(batch)
    assert (runs, 0) == theirs.seal(batch)
    for run in runs:
        if len(run.datagrams()[-1]) > sealed_size(AES, V2, 0):
            assert opening[0].open(run.data, run.size, 4, 0.0) == opening[1].open(run.data, run.size, 4, 0.0)


Arrival = tuple[int, int, int, float]
arrivals = st.lists(
    st.tuples(
        st.integers(0, 200), st.sampled_from([0, 0, 0, 1]), st.integers(0, 6000), st.sampled_from([0.0, 1.0, 16.0])
    ),
    max_size=12,
)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(
    packets=st.lists(ip_packets().filter(bool), min_size=1, max_size=20),
    given_arrivals=arrivals,
    window=st.integers(1, 70),
)
def test_what_is_opened_is_the_same(
    kind: Kind, packets: list[bytes], given_arrivals: list[Arrival], window: int
) -> None:
    """Runs arrive in any order, more than once, late, and with a byte spoilt."""
    sealer = kind.sealer(pure, V2)
    runs: list[Run] = []
    for packet in packets:
        runs += sealer.seal([Frame(packet)] * 3)[0]
        sealer.packet_id += len(packet)
    ours, theirs = openers(kind, window)
    now = 100.0
    for which, spoils, at, wait in given_arrivals:
        run = runs[which % len(runs)]
        data = bytearray(run.data)
        data[at % len(data)] ^= spoils
        now += wait
        if which & 1:
            opened = ours.open(data, run.size, 4, now, 1000)
            assert opened == theirs.open(bytes(data), run.size, 4, now, 1000)
        else:
            opened = ours.open_unsorted(data, run.size, 4, now)
            assert opened == theirs.open_unsorted(bytes(data), run.size, 4, now)
            assert opened.messages == []
        assert (ours.blocks, ours.failures, ours.highest_packet_id) == (
            theirs.blocks,
            theirs.failures,
            theirs.highest_packet_id,
        )


@pytest.mark.parametrize("kind", EPOCHS, ids=str)
@given(
    steps=st.lists(st.tuples(st.sampled_from([0, 1, 1, 2, 15, 16, 17]), st.integers(1, 4)), min_size=1, max_size=8),
    given_arrivals=arrivals,
    window=st.integers(1, 70),
)
def test_epochs_are_the_same(
    kind: Kind, steps: list[tuple[int, int]], given_arrivals: list[Arrival], window: int
) -> None:
    """Runs of several epochs, joined with their neighbours, arrive as above."""
    ours, theirs = (
        cast("kernel.AnyEpochSealer", kind.sealer(compiled, V2)),
        cast("kernel.AnyEpochSealer", kind.sealer(pure, V2)),
    )
    runs: list[Run] = []
    for step, count in steps:
        if step:
            for each in (ours, theirs):
                each.advance(each.epoch + step)
        sealed = ours.seal([Frame(b"E text")] * count)[0]
        assert (sealed, 0) == theirs.seal([Frame(b"E text")] * count)
        runs += sealed
    one, other = (cast("kernel.AnyEpochOpener", each) for each in openers(kind, window))
    now = 100.0
    for which, spoils, at, wait in given_arrivals:
        data = bytearray(b"".join(run.data for run in runs[which % len(runs) :][: 1 + which % 3]))
        data[at % len(data)] ^= spoils
        now += wait
        assert one.open(data, runs[0].size, 4, now) == other.open(data, runs[0].size, 4, now)
        assert (one.epoch, one.blocks, one.failures, one.highest_packet_id) == (
            other.epoch,
            other.blocks,
            other.failures,
            other.highest_packet_id,
        )


@pytest.mark.parametrize("opener", openers(AES))
def test_plaintexts_that_are_no_packets_keep_their_place_where_they_are_not_sorted(opener: kernel.AnyOpener) -> None:
    texts: list[Buffer] = [b"\xfaE", b"E\0", b"\x2a\x18", b"`\0"]
    ((run,), _) = compiled.Sealer("AES-256-GCM", KEY, IV, V2).seal([Frame(text) for text in texts])
    assert opener.open_unsorted(run.data, run.size, 4, 0.0) == Opened(texts, [], 0, 0)
    assert opener.open(run.data, run.size, 4, 0.0) == Opened([], [], 0, 4)


@pytest.mark.parametrize("kind", [AES, EPOCH, *CBC[:2]], ids=str)
def test_a_key_that_has_seen_too_many_forgeries_opens_no_more(kind: Kind) -> None:
    ((run,), _) = kind.sealer(compiled, V2).seal([Frame(b"E text")] * 3)
    for opener in openers(kind):
        opener.failures = 1 << 36
        assert len(opener.open(run.data, run.size, 4, 0.0).packets) == 3
        opener.failures += 1
        assert opener.open(run.data, run.size, 4, 0.0) == Opened([], [], 3, 0)


@given(st.integers(1, 130), st.lists(st.integers(0, 300) | st.integers(0, 2**32 - 2), max_size=60))
def test_the_replay_window_is_the_same(window: int, packet_ids: list[int]) -> None:
    sealer = compiled.Sealer("AES-256-GCM", KEY, IV, V1)
    ours, theirs = openers(AES, window)
    for number, packet_id in enumerate(packet_ids):
        sealer.packet_id = packet_id
        ((run,), _) = sealer.seal([Frame(b"E")])
        now = number * 0.7
        assert ours.open(run.data, run.size, 1, now) == theirs.open(run.data, run.size, 1, now)


@pytest.mark.parametrize("kind", [AES, EPOCH, *CBC[:2]], ids=str)
@given(data=st.binary(max_size=300), size=st.integers(-2, 310), prefix_size=st.sampled_from([1, 4]))
def test_any_bytes_may_be_opened(kind: Kind, data: bytes, size: int, prefix_size: int) -> None:
    def opened(opener: kernel.AnyOpener) -> Opened | None:
        try:
            return opener.open(data, size, prefix_size, 0.0)
        except ValueError:
            return None

    ours, theirs = openers(kind)
    assert opened(ours) == opened(theirs)


@pytest.mark.parametrize(
    "call",
    [
        lambda: compiled.Sealer("BF-CBC", KEY, IV, V2),
        lambda: compiled.Sealer("AES-256-GCM", KEY[:31], IV, V2),
        lambda: compiled.Sealer("AES-256-GCM", KEY, IV[:7], V2),
        lambda: compiled.Sealer("AES-256-GCM", KEY, IV, b"12"),
        lambda: compiled.Opener("AES-256-GCM", b"", IV, 64, 15.0),
        lambda: compiled.Opener("AES-256-GCM", KEY, IV, 0, 15.0),
        lambda: compiled.Opener("AES-256-GCM", KEY, IV, 65537, 15.0),
        lambda: compiled.Opener("AES-256-GCM", KEY, IV, 64, 15.0).open(bytes(100), 50, 2, 0.0),
        lambda: compiled.EpochSealer("AES-256-CBC", KEY, V2),
        lambda: compiled.EpochSealer("AES-128-GCM", KEY[:31], V2),
        lambda: compiled.EpochSealer("AES-128-GCM", KEY, b""),
        lambda: compiled.EpochOpener("AES-128-GCM", KEY[:31], 64, 15.0),
        lambda: compiled.EpochOpener("AES-128-GCM", KEY, 0, 15.0),
        lambda: compiled.CbcSealer("AES-256-GCM", KEY, "sha1", IV, V2),
        lambda: compiled.CbcSealer("AES-256-CBC", KEY[:31], "sha1", IV, V2),
        lambda: compiled.CbcSealer("AES-256-CBC", KEY, "sha512", IV[:63], V2),
        lambda: compiled.CbcSealer("AES-256-CBC", KEY, "sha", IV, V2),
        lambda: compiled.CbcSealer("AES-256-CBC", KEY, "s" * 100, IV, V2),
        lambda: compiled.CbcOpener("BF-CBC", KEY, "sha1", IV, 64, 15.0),
        lambda: compiled.CbcOpener("AES-256-CBC", KEY, "sha1", IV, 65537, 15.0),
    ],
)
def test_arguments_that_make_no_sense_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"no such cipher|a replay window|a run that|a prefix"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: compiled.segment((b"packet",)),  # type: ignore[arg-type]
        lambda: compiled.segment((1, NO_OFFLOAD)),  # type: ignore[arg-type]
        lambda: compiled.segment(Frame(b"packet", "text")),  # type: ignore[arg-type]
        lambda: compiled.coalesce([b"", "text"]),  # type: ignore[list-item]
        lambda: compiled.coalesce(5),  # type: ignore[arg-type]
        lambda: compiled.clamp_mss((b"packet",), 5),  # type: ignore[arg-type]
        lambda: compiled.clamp_mss([None], 5),  # type: ignore[list-item]
        lambda: compiled.by_source([5]),  # type: ignore[list-item]
        lambda: compiled.by_destination([b"packet"]),  # type: ignore[list-item]
        lambda: compiled.Sealer("AES-128-GCM", KEY, IV, V1).seal([Frame(b"good"), None]),  # type: ignore[list-item]
    ],
)
def test_values_of_other_types_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        call()


def test_subclasses_that_could_break_the_state_are_not_to_be_had() -> None:
    names = [prefix + name for prefix in ("", "Epoch", "Cbc") for name in ("Sealer", "Opener")]
    for cls in (getattr(compiled, name) for name in names):
        with pytest.raises(TypeError):
            type("Sub", (cls,), {})


def test_two_threads_may_not_share_a_nonce() -> None:
    """One that comes while the other is at work is refused; no packet id is used twice."""
    sealer = compiled.Sealer("AES-128-GCM", KEY, IV, V2)
    packet_ids: list[bytes] = []

    def work() -> None:
        for _ in range(200):
            try:
                runs, _ = sealer.seal([Frame(bytes(1400))] * 40)
            except RuntimeError:
                continue
            packet_ids.extend(bytes(datagram[4:8]) for run in runs for datagram in run.datagrams())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(packet_ids)) == len(packet_ids) > 0


@pytest.mark.parametrize("kind", [AES, EPOCH, CBC[0]], ids=str)
def test_nothing_is_left_behind(kind: Kind) -> None:
    good = Frame(tcp(*IPV4, bytes(3000)), VnetHeader(1, 1, 0, 1000, 20, 16).encode())
    bad = Frame(good.packet, VnetHeader(1, 1, 0, 0, 20, 16).encode())

    def round_trip() -> None:
        sealer, _ = sealers(kind, V2)
        opener, _ = openers(kind)
        runs, _ = sealer.seal([good, bad, Frame(b"\0message")], 1000)
        for run in (*runs, *runs, Run(b"\1" + bytes(runs[0].data)[1:], runs[0].size)):
            packets = opener.open(run.data, run.size, 4, 0.0, 1000).packets
            opener.open_unsorted(run.data, run.size, 4, 0.0)
            compiled.clamp_mss(packets, 10)
            compiled.coalesce(packets)
            compiled.by_source(packets)
            compiled.by_destination(compiled.coalesce(packets, 0))
        for call in (
            lambda: compiled.segment(bad),
            lambda: sealer.seal([good, None]),  # type: ignore[list-item]
            lambda: opener.open(b"", 5, 4, 0.0),
            lambda: opener.open_unsorted(b"", 5, 4, 0.0),
            lambda: compiled.coalesce([b"", None]),  # type: ignore[list-item]
        ):
            with pytest.raises((MalformedPacket, TypeError, ValueError)):
                call()

    def growth() -> int:
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(50):
            round_trip()
        gc.collect()
        return sys.getallocatedblocks() - before

    assert min(growth() for _ in range(4)) < 25


def test_frames_may_lie_in_memory_of_any_kind() -> None:
    packet = udp(*IPV4, bytes(50))
    kinds: list[Buffer] = [packet, bytearray(packet), memoryview(packet), memoryview(b"x" + packet)[1:]]
    ours, theirs = sealers(AES, V2)
    assert ours.seal([Frame(kind) for kind in kinds]) == theirs.seal([Frame(packet)] * 4)


def test_a_bad_virtio_net_header_costs_only_its_frame() -> None:
    ours, _ = sealers(AES, V2)
    broken = [Frame(b"\x45" * 60, struct.pack("=BBHHHH", 1, 1, 0, size, 20, 16)) for size in range(3)]
    runs, malformed = ours.seal([*broken, Frame(b"\x45" * 60, b"short"), Frame(b"\x45" * 30)])
    assert malformed == 4
    assert reduce(lambda count, run: count + len(run.datagrams()), runs, 0) == ours.packet_id == 1


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "twistvpn.data._kernel"
    for choice, expected in (("", _compiled), ("pure", None), ("compiled", _compiled)):
        monkeypatch.setenv(VARIABLE, choice)
        assert wanted(name) is expected
    assert compiled.NAME.startswith("compiled (OpenSSL ")
    with pytest.raises(ImportError, match="was not built"):
        wanted("twistvpn.no_such_module")
    monkeypatch.setenv(VARIABLE, "cython")
    with pytest.raises(ImportError, match="there are 'pure' and 'compiled'"):
        wanted(name)


@pytest.mark.parametrize("name", ["pure", "compiled"])
def test_a_process_runs_the_kernel_that_its_environment_names(name: str) -> None:
    code = "from twistvpn.data import kernel; print(kernel.NAME)"
    environment = {**os.environ, VARIABLE: name}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(name)


@pytest.mark.parametrize(
    "code",
    [
        "from twistvpn.cli.entry import main; main()",
        "import sys; sys.argv = 'twistd -n vpn --config x'.split(); from twisted.scripts.twistd import run; run()",
    ],
    ids=["twistvpn", "twistd"],
)
def test_what_the_environment_has_wrong_is_told_in_one_line(code: str) -> None:
    environment = {**os.environ, VARIABLE: "cython"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Error: {VARIABLE} is 'cython': there are 'pure' and 'compiled'\n"


def test_sanitizers_find_nothing() -> None:
    done = subprocess.run(
        [sys.executable, FUZZER, "--seconds", str(FUZZ_SECONDS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
