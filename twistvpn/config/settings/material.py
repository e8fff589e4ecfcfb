"""What files and inline blocks hold, and where in the configuration a value was written."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Origin:
    """Where a value was written, for messages: path as the admin wrote it, line from 1, option's name."""

    file: str
    line: int | None
    option: str


@dataclass(frozen=True)
class Material:
    """The bytes of a file or an inline block, and where they came from."""

    data: bytes = field(repr=False)
    origin: Origin
