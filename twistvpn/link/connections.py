"""What every stream connection ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from twisted.internet.interfaces import IDelayedCall


def abort(transport: Any) -> None:
    """End a connection at once, without waiting for what is queued where the transport can; None is none."""
    if transport is not None:
        getattr(transport, "abortConnection", transport.loseConnection)()


def cancel(timer: IDelayedCall | None) -> None:
    """Let a timer not go off; nothing happens where there is none or it has."""
    if timer is not None and timer.active():
        timer.cancel()
