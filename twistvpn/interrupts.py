"""An interrupt (Ctrl-C) before the reactor runs ends the process without a traceback, by the signal as it should."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


def end_quietly() -> None:
    """Let nothing be printed for a `KeyboardInterrupt` that nobody catches; what else is not caught is told as before.

    Once the reactor runs, it has the signal.
    """
    before = sys.excepthook

    def tell(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            before(kind, error, traceback)

    sys.excepthook = tell
