"""Fixtures of the interop tests, and the condition under which they run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.interop.material import Authority, static_key
from tests.interop.openvpn3 import BINARY as OPENVPN3
from tests.interop.peers import Lab
from tests.interop.releases import STOCK_BINARY

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.interop.tunnel import Tunnel

collect_ignore = [] if OPENVPN3 else ["test_openvpn3.py"]
"""Asked for by name, it says what it lacks."""

_LABS = pytest.StashKey[list[Lab]]()


class MakeLab(Protocol):
    """The type of the `make_lab` fixture."""

    def __call__(self, tunnel: Tunnel | None = None) -> Lab:
        """A lab for one test."""


_FOR_SINGLE_TESTS = ("nft",) if os.environ.get("CI") else ()
"""Those that need more are skipped without it, but not in CI."""


def _missing() -> str:
    """What this machine lacks for interop tests; '' when it has all."""
    wants = {
        "root": os.geteuid() == 0,
        "/dev/net/tun": Path("/dev/net/tun").exists(),
        **{
            program: shutil.which(program, path=_PATH) is not None
            for program in (STOCK_BINARY, "ip", "ping", "setpriv", *_FOR_SINGLE_TESTS)
        },
    }
    return ", ".join(name for name, there in wants.items() if not there)


_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


@pytest.fixture(scope="session", autouse=True)
def _environment() -> None:
    """Skip where the machine cannot do it; in CI that is a failure."""
    if missing := _missing():
        message = f"interop tests need {missing}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The CA that all peers trust."""
    return Authority()


@pytest.fixture(scope="session")
def shared_key() -> str:
    """The static key of tls-auth and tls-crypt."""
    return static_key()


@pytest.fixture
def make_lab(
    request: pytest.FixtureRequest, authority: Authority, shared_key: str, tmp_path: Path
) -> Iterator[MakeLab]:
    """Makes labs that are taken down after the test."""
    labs: list[Lab] = request.node.stash.setdefault(_LABS, [])

    def make(tunnel: Tunnel | None = None) -> Lab:
        labs.append(Lab(authority, shared_key, tmp_path, tunnel))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """A lab whose tunnel is the usual one: UDP, IPv4, tls-crypt, AES-256-GCM, TLS 1.3."""
    return make_lab()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the peers' logs with a failure."""
    report = yield
    if call.when == "call" and report.failed:
        for one in item.stash.get(_LABS, []):
            report.sections.extend((f"log of {label}", log[-6000:]) for label, log in one.logs())
    return report
