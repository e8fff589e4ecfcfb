"""Looking up the names of hosts that a server pushes, before its options are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import gatherResults

from twistvpn.control.pulled_names import names_in, with_addresses
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

PATIENCE = 20.0
"""Seconds that a name may take."""


class PulledNames:
    """Puts addresses in the place of names in the options pushed to one connection; the latest ones alone count.

    `look_up` gives the IPv4 addresses of a name, and fails where it has none.
    """

    log = Logger()

    def __init__(self, look_up: Callable[[str], Deferred[list[str]]], clock: IReactorTime) -> None:
        self._look_up = look_up
        self._clock = clock
        self._looking: Deferred[list[list[str]]] | None = None
        self._then: Callable[[Sequence[str]], None] | None = None
        """Who waits for what is being looked up."""

    @property
    def is_looking(self) -> bool:
        """Whether names are being looked up."""
        return self._then is not None

    def replace(self, options: Sequence[str], then: Callable[[Sequence[str]], None]) -> None:
        """Call `then` with the options, at once where there are no names in them."""
        self.cancel()
        names = names_in(options)
        if not names:
            then(options)
            return

        def found(addresses: list[list[str]]) -> None:
            if self._then is not then:
                return
            self._looking = self._then = None
            kept, left_out = with_addresses(options, dict(zip(names, addresses, strict=True)))
            for option in left_out:
                self.log.warn("the server pushes {option!r}, whose name has no address: it is left out", option=option)
            then(kept)

        self._then = then
        looking = gatherResults([self._addresses(name) for name in names])
        if not looking.called:
            self._looking = looking
        looking.addCallbacks(found, lambda _: None)

    def _addresses(self, name: str) -> Deferred[list[str]]:
        return self._look_up(name).addTimeout(PATIENCE, self._clock).addErrback(_none)

    def cancel(self) -> None:
        """Nobody waits for them any more."""
        looking, self._looking, self._then = self._looking, None, None
        if looking is not None:
            looking.cancel()


def _none(failure: Failure) -> list[str]:
    return []
