"""`verb`: what of ours is logged, and that nothing of anybody else's is touched."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.logger import Logger, LogLevel, globalLogPublisher

from tests.config_files import CLIENT_OVPN, make_files
from twistvpn import verbosity
from twistvpn.verbosity import level_of, set_verb

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
LEVELS = ("debug", "info", "warn", "error", "critical")


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The levels of the events that come out, ours and another package's."""
    events: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_namespace", "").startswith(("twistvpn.test", "other.test")):
            events.append(f"{event['log_namespace'].partition('.')[0]} {event['log_level'].name}")

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]  # a function is an observer
    yield events
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
    set_verb(4)


def log_all(logger: Logger) -> None:
    for level in LEVELS:
        logger.emit(LogLevel.levelWithName(level), "something")


@pytest.mark.shows("verb")
@pytest.mark.parametrize(
    ("verb", "passing"),
    [(0, LEVELS[3:]), (1, LEVELS[2:]), (2, LEVELS[2:]), (3, LEVELS[1:]), (4, LEVELS), (11, LEVELS)],
)
def test_verb_says_what_of_ours_is_logged(logged: list[str], verb: int, passing: tuple[str, ...]) -> None:
    set_verb(verb)
    log_all(verbosity.Logger("twistvpn.test"))
    assert logged == [f"twistvpn {level}" for level in passing]


def test_all_is_logged_until_verb_is_set(logged: list[str]) -> None:
    log_all(verbosity.Logger("twistvpn.test"))
    assert logged == [f"twistvpn {level}" for level in LEVELS]


def test_nobody_elses_log_is_touched(logged: list[str]) -> None:
    set_verb(0)
    log_all(Logger("other.test"))
    assert logged == [f"other {level}" for level in LEVELS]


@pytest.mark.parametrize("verb", [-1, 12, 1000])
def test_any_number_has_a_level(verb: int) -> None:
    assert level_of(verb) in {LogLevel.error, LogLevel.debug}


def test_every_logger_of_the_package_obeys() -> None:
    for path in (ROOT / "twistvpn").rglob("*.py"):
        if path.name == "verbosity.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in {"twisted", "twisted.logger"}:
                assert not {"Logger", "logger"} & {alias.name for alias in node.names}, f"{path}: use our own Logger"


DAEMON = """
import sys
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.logger import Logger
from twisted.scripts.twistd import run
from twistvpn import tap

class Talking(Service):
    def __init__(self, *arguments, **options):
        pass

    def startService(self):
        for level in ("debug", "info", "warn"):
            getattr(tap._log, level)("ours {word}", word=level)
        Logger("other").info("somebody else's")
        reactor.callWhenRunning(reactor.stop)

tap.VpnProcessService = Talking
sys.argv = ["twistd", "-n", "--pidfile=", *sys.argv[1:]]
run()
"""


@pytest.mark.parametrize("target", ["stdout", "file"])
@pytest.mark.parametrize(
    ("option", "ours"), [("verb 1", {"warn"}), ("", {"info", "warn"}), ("verb 4", {"debug", "info", "warn"})]
)
def test_twistd_logs_what_verb_asks_for(tmp_path: Path, option: str, ours: set[str], target: str) -> None:
    make_files(tmp_path)
    config = tmp_path / "client.conf"
    config.write_text(f"{CLIENT_OVPN}\n{option}\n")
    log = tmp_path / "log"
    to_file = [f"--logfile={log}"] if target == "file" else []
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, *to_file, "vpn", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    text = log.read_text() if target == "file" else done.stdout
    assert {level for level in ("debug", "info", "warn") if f"ours {level}" in text} == ours, done.stderr
    assert "somebody else's" in text
