"""Sorting what a link has received by what it is."""

from __future__ import annotations

from itertools import groupby

from twistvpn.interfaces import Run
from twistvpn.wire.opcodes import DATA_OPCODES, OPCODE_SHIFT


def uniform_parts(run: Run) -> list[Run]:
    """Cut a run into runs of data packets with the same first byte, and runs of one for everything else.

    Nearly every run is either one datagram or data of one key throughout, and comes back as it is.  Empty
    datagrams are left out.
    """
    data, size = run
    if not data or size <= 0:
        return []
    if len(data) <= size:
        return [run]
    first_bytes = bytes(data[::size])
    if data[0] >> OPCODE_SHIFT in DATA_OPCODES and first_bytes.count(data[0]) == len(first_bytes):
        return [run]
    parts: list[Run] = []
    for first, group in groupby(run.datagrams(), key=lambda datagram: datagram[0]):
        datagrams = list(group)
        if first >> OPCODE_SHIFT in DATA_OPCODES:
            parts.append(Run(b"".join(datagrams), size))
        else:
            parts.extend(Run(datagram, len(datagram)) for datagram in datagrams)
    return parts


def is_data(run: Run) -> bool:
    """Whether a uniform run holds data packets."""
    return run.data[0] >> OPCODE_SHIFT in DATA_OPCODES
