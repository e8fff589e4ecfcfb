"""Tests that need a running reactor, typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, cast

import pytest_twisted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from twisted.internet.defer import Deferred

Arguments = ParamSpec("Arguments")


def in_reactor(test: Callable[Arguments, Coroutine[Any, Any, None]]) -> Callable[Arguments, Deferred[None]]:
    """Run a test that is a coroutine in the reactor that pytest-twisted keeps."""
    return cast("Callable[Arguments, Deferred[None]]", pytest_twisted.ensureDeferred(test))
