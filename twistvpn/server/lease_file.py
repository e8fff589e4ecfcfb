"""The file that remembers who had which address (`ifconfig-pool-persist`), in stock OpenVPN's format.

A line is `NAME,ADDRESS,ADDRESS6`; either address is empty where the pool has none, releases up to 2.4 leave the second
one out, and in topology net30 the IPv4 address is the first one of the client's /30.  Lines that begin with `#` or `;`
are comments.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

from twistvpn.status_file import write_status_file
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from twistvpn.config.settings import PoolPersistence
    from twistvpn.server.pool import AddressPool, PoolRange

LARGEST = 16 * 2**20
"""Bytes that are read at most: a line for each of 65536 clients is far less."""


def format_leases(pool: AddressPool) -> str:
    """The text of the file."""
    lines = []
    for identity, place in pool.remembered():
        if "," in identity or not identity.isprintable():
            continue  # It would be read back as something else.
        addresses = ("" if address is None else str(address) for address in pool.places.base(place))
        lines.append(f"{identity},{','.join(addresses)}\n")
    return "".join(lines)


def place_in_line(line: str, places: PoolRange) -> tuple[str, int]:
    """The name and the place that a line is about; IPv4 decides where both addresses are there.

    Raises `ValueError`, saying why, for a line that names no place of the pool.
    """
    name, *texts = line.split(",")
    if not name or not 1 <= len(texts) <= 2:
        raise ValueError("it is not NAME,ADDRESS,ADDRESS6")
    addresses: list[IPv4Address | IPv6Address] = []
    if texts[0]:
        addresses.append(IPv4Address(texts[0]))
    if texts[1:] and texts[1]:
        addresses.append(IPv6Address(texts[1]))
    for address in addresses:
        place = places.place_of(address)
        if place is not None:
            return name, place
    raise ValueError("it has no address of the pool")


class LeaseFile:
    """Reads the file into a pool when the server starts, and writes it while the server runs.

    What is wrong with the file is logged, and the server goes on without what could not be read or written.
    """

    log = Logger()

    def __init__(self, settings: PoolPersistence, pool: AddressPool) -> None:
        self._path = settings.path
        self._writes = settings.interval > 0
        self._pool = pool
        self._written: str | None = None

    def load(self) -> None:
        """Let the pool remember what the file says; a file that is only read keeps its places for those it names."""
        try:
            with Path(self._path).open(encoding="utf-8") as file:
                text = file.read(LARGEST)
        except FileNotFoundError:
            if not self._writes:
                self.log.warn("ifconfig-pool-persist: there is no file {path}", path=self._path)
            return
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.log.warn("ifconfig-pool-persist: cannot read {path}: {why}", path=self._path, why=why)
            return
        for number, line in enumerate(text.splitlines(), 1):
            if line and line[0] not in "#;":
                self._take(number, line)

    def _take(self, number: int, line: str) -> None:
        try:
            identity, place = place_in_line(line, self._pool.places)
        except ValueError as error:
            why = str(error)
        else:
            remember = self._pool.remember if self._writes else self._pool.keep
            if remember(identity, place):
                return
            why = "its address is kept for somebody else"
        self.log.warn("{path}:{number}: the line is left out: {why}", path=self._path, number=number, why=why)

    def save(self) -> None:
        """Write the file in one step, unless it is only read or has this content already."""
        if not self._writes:
            return
        text = format_leases(self._pool)
        if text == self._written:
            return
        try:
            write_status_file(self._path, text)
        except OSError as error:
            self.log.warn("ifconfig-pool-persist: cannot write {path}: {why}", path=self._path, why=error.strerror)
        else:
            self._written = text
