"""What every test file shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from twisted.logger import globalLogPublisher

from twistvpn.compiled import find
from twistvpn.data import kernel, pure

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# A slow machine is not a failure, and the same commit gives the same result.
settings.register_profile("twistvpn", deadline=None, derandomize=True)
settings.load_profile("twistvpn")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Let a Hypothesis test run more than once: pytest-twisted leaves its wrapper around each run's inner test."""
    hypothesis = getattr(pyfuncitem.obj, "hypothesis", None)
    if hypothesis is None:
        return (yield)
    inner_test = hypothesis.inner_test
    try:
        return (yield)
    finally:
        hypothesis.inner_test = inner_test


@pytest.fixture(scope="module", params=["pure", "compiled"])
def each_kernel(request: pytest.FixtureRequest) -> Iterator[kernel.Kernel]:
    """Run a module's tests once with each kernel in its place, the compiled one where it was built."""
    chosen = pure if request.param == "pure" else find("twistvpn.data._kernel")
    if chosen is None:
        pytest.skip("the compiled kernel was not built")
    with pytest.MonkeyPatch.context() as patch:
        for name in pure.__all__:
            patch.setattr(kernel, name, getattr(chosen, name))
        yield chosen


@pytest.fixture
def faults() -> Iterator[list[dict[str, Any]]]:
    """Everything that was logged with a traceback; nothing may be."""
    events: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            events.append(event)

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]  # a function is an observer
    yield events
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
    assert [event["log_failure"].getTraceback() for event in events] == []
