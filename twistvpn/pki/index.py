"""The list of certificates a CA has issued: a text file, one certificate a line, fields between tabs.

Fields: serial number in hexadecimal, kind, name, end of validity, instant of revocation or '-'.  Instants are
UTC in ISO 8601.  A line that begins with '#' is a comment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING

from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADER = "# serial\tkind\tname\texpires\trevoked\n"


class Kind(Enum):
    """What a certificate is for."""

    SERVER = "server"
    CLIENT = "client"


class Status(Enum):
    """What a certificate is worth at some instant."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Entry:
    """One certificate; both instants are aware."""

    serial: int
    kind: Kind
    name: str
    expires: datetime
    revoked: datetime | None = None

    def status(self, now: datetime) -> Status:
        """Tell what the certificate is worth at `now`; revoked goes before expired."""
        if self.revoked is not None:
            return Status.REVOKED
        return Status.EXPIRED if self.expires <= now else Status.ACTIVE


def format_index(entries: Iterable[Entry]) -> str:
    """Write the entries as the file's text."""
    return _HEADER + "".join(map(_format_entry, entries))


def parse_index(text: str, file: str) -> list[Entry]:
    """Read the file's text back; raises `ConfigError` with `file` and the line that cannot be read."""
    entries = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            entries.append(_parse_entry(line))
        except ValueError as error:
            raise ConfigError(f"not a line of five fields: {error}", file=file, line=number) from error
    return entries


def _format_entry(entry: Entry) -> str:
    revoked = "-" if entry.revoked is None else _format_instant(entry.revoked)
    fields = (f"{entry.serial:x}", entry.kind.value, entry.name, _format_instant(entry.expires), revoked)
    return "\t".join(fields) + "\n"


def _parse_entry(line: str) -> Entry:
    serial, kind, name, expires, revoked = line.split("\t")
    return Entry(
        int(serial, 16),
        Kind(kind),
        name,
        _parse_instant(expires),
        None if revoked == "-" else _parse_instant(revoked),
    )


def _format_instant(instant: datetime) -> str:
    return instant.astimezone(timezone.utc).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _parse_instant(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=timezone.utc)
