"""A factory for a protocol that is there before its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from twisted.internet.protocol import Factory, Protocol

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

_P = TypeVar("_P", bound=Protocol)


class SingleFactory(Factory, Generic[_P]):
    """Gives the one connection of a client endpoint its protocol."""

    noisy = False

    def __init__(self, protocol: _P) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> _P:
        """Return the protocol."""
        return self._protocol
