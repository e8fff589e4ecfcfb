"""The command line of `twistd vpn`: every mistake is one line, and the process ends with status 1."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.application.service import IServiceMaker, Service
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError

from twistvpn.client.service import VpnClientService
from twistvpn.errors import ConfigError, EnvironmentRefusal
from twistvpn.server.service import VpnServerService
from twistvpn.tap import Options, VpnProcessService, _check_files, _Failure, _make_files, makeService
from twistvpn.testing import pair
from twistvpn.verbosity import set_verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twistvpn.config.settings import Settings


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Leave the process's signal handlers as they were, and what it logs."""
    taken = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in taken]
    yield
    for number, handler in zip(taken, before, strict=True):
        signal.signal(number, handler)
    set_verb(4)


def options(*arguments: str) -> Options:
    parsed = Options()  # type: ignore[no-untyped-call]
    parsed.parseOptions(arguments)  # type: ignore[no-untyped-call]
    return parsed


@pytest.fixture
def server_conf(tmp_path: Path) -> str:
    path = tmp_path / "server.conf"
    path.write_text(pair(connect=False)._server_text())
    return str(path)


@pytest.fixture
def client_ovpn(tmp_path: Path) -> str:
    vpn = pair(connect=False)
    path = tmp_path / "client.ovpn"
    path.write_text(vpn._client_text(vpn.authority.issue_client("client", vpn.valid_from)))
    return str(path)


def test_twistd_finds_it() -> None:
    (maker,) = [plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "vpn"]
    assert maker.options is Options


def test_a_missing_option_is_told_with_the_usage() -> None:
    with pytest.raises(UsageError, match="--config FILE is missing"):
        options()


@pytest.mark.parametrize("text", ["nonsense 1 2 3\n", "[server]\nnonsense = 1\n", ""])
def test_a_mistake_in_the_configuration_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(SystemExit) as raised:
        options("--config", str(path))
    assert isinstance(raised.value.code, str), "which Python prints, and exits with status 1"
    assert raised.value.code.startswith(f"twistvpn: {path}")
    assert "\n" not in raised.value.code


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot read the configuration: No such file"):
        options("-c", str(tmp_path / "missing"))


@pytest.mark.parametrize(("fixture", "kind"), [("server_conf", VpnServerService), ("client_ovpn", VpnClientService)])
def test_the_service_is_what_the_configuration_describes(
    fixture: str, kind: type[Service], request: pytest.FixtureRequest
) -> None:
    process = makeService(options("--config", request.getfixturevalue(fixture)))
    (inner,) = list(process)
    assert isinstance(inner, kind)


def test_an_unknown_user_is_one_line(server_conf: str) -> None:
    parsed = options("--config", server_conf)
    parsed.settings = replace(parsed.settings, user="no-such-user-anywhere")
    with pytest.raises(SystemExit) as raised:
        makeService(parsed)
    assert "no-such-user-anywhere" in str(raised.value.code)


class Refusing(Service):
    """A service whose start is refused."""

    def __init__(self, error: Exception, when: str) -> None:
        self.error = error
        self.when = when

    def privilegedStartService(self) -> None:
        if self.when == "privileged":
            raise self.error

    def startService(self) -> None:
        if self.when == "start":
            raise self.error

    def reload(self) -> None:
        pass

    def log_status(self) -> None:
        pass


@pytest.fixture
def settings(server_conf: str) -> Settings:
    return options("--config", server_conf).settings


@pytest.mark.parametrize("when", ["privileged", "start"])
@pytest.mark.parametrize("error", [EnvironmentRefusal("port 1194 is taken"), ConfigError("no key", option="key")])
def test_a_refusal_at_start_is_one_line_and_status_1(
    settings: Settings, when: str, error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    process = VpnProcessService(Refusing(error, when), settings, Clock())  # type: ignore[arg-type]  # as much as is asked

    def start() -> None:
        process.privilegedStartService()
        process.startService()

    with pytest.raises(SystemExit) as raised:
        start()
    assert raised.value.code == 1
    assert f"twistvpn: {error}" in capfd.readouterr().err.splitlines()


def test_a_daemon_hands_the_refusal_to_the_process_that_waits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.tracebacklimit", 1000, raising=False)
    error = EnvironmentRefusal("port 1194 is taken")
    process = VpnProcessService(Refusing(error, "privileged"), settings, Clock(), daemon=True)  # type: ignore[arg-type]
    with pytest.raises(EnvironmentRefusal, match="port 1194 is taken"):
        process.privilegedStartService()


class Stoppable:
    """A reactor that is not running yet."""

    def __init__(self) -> None:
        self.stopped = 0
        self._running = False
        self._waiting: list[Callable[[], None]] = []

    def callWhenRunning(self, call: Callable[[], None]) -> None:
        if self._running:
            call()
        else:
            self._waiting.append(call)

    def run(self) -> None:
        self._running = True
        for call in self._waiting:
            call()

    def stop(self) -> None:
        if self.stopped or not self._running:
            raise ReactorNotRunning
        self.stopped += 1


@pytest.mark.parametrize("fails_before", [True, False])
def test_a_failure_later_stops_the_reactor_and_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch, *, fails_before: bool
) -> None:
    registered: list[object] = []
    monkeypatch.setattr("atexit.register", registered.append)
    reactor = Stoppable()
    fail = _Failure(reactor)
    if not fails_before:
        reactor.run()
    fail("the server refuses us")
    fail("and again")
    if fails_before:
        reactor.run()
    assert reactor.stopped == 1
    assert registered


def test_twistd_is_told_in_one_line_where_it_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda _folder, _mode: False)
    with pytest.raises(SystemExit, match=f"cannot write x.pid in {tmp_path}: give it another --pidfile"):
        _check_files(str(tmp_path), pidfile="x.pid", logfile="-")


def test_a_status_file_that_cannot_be_made_is_told_at_start(
    settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "missing" / "status"
    process = VpnProcessService(
        Refusing(EnvironmentRefusal(""), "never"),  # type: ignore[arg-type]  # as much as is asked
        replace(settings, status=str(path)),
        Clock(),
    )
    with pytest.raises(SystemExit):
        process.privilegedStartService()
    assert f"twistvpn: status: cannot write {path}: No such file or directory" in capfd.readouterr().err


def test_a_disk_that_is_full_keeps_nobody_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, *_: int) -> None:
        asked.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    asked: list[str] = []
    monkeypatch.setattr("twistvpn.tap.hand_over_status_file", full)
    path = str(tmp_path / "status")
    _make_files({"status": path}, None)
    assert asked == [path]


def test_where_a_unit_lets_us_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: str, *_: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("twistvpn.tap.hand_over_status_file", read_only)
    with pytest.raises(EnvironmentRefusal, match=r"Read-only file system; under systemd .* /var/lib/twistvpn"):
        _make_files({"status": str(tmp_path / "status")}, None)


def test_an_interrupt_while_it_loads_ends_it_without_a_traceback(tmp_path: Path) -> None:
    config = tmp_path / "slow.conf"
    os.mkfifo(config)
    with (
        subprocess.Popen(
            [sys.executable, "-m", "twisted", "vpn", "--config", config],
            cwd=Path(__file__).resolve().parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
        config.open("w"),
    ):  # opens once the other end reads it
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)
    assert (process.returncode, told) == (-signal.SIGINT, "")
