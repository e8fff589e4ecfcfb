"""A program under test: its process, its log, and bounded waiting on both."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.interop.netns import Namespace

ROOT = Path(__file__).resolve().parents[2]
"""The checkout under test."""

OFFLOADS = os.environ.get("INTEROP_OFFLOADS") != "none"
"""INTEROP_OFFLOADS=none lets our ends run as on a kernel without any."""
TWISTD = (
    [str(Path(sys.executable).parent / "twistd")]
    if OFFLOADS
    else [sys.executable, str(Path(__file__).with_name("old_kernel.py"))]
)
"""What runs us, before its arguments."""


def environment() -> dict[str, str]:
    """The environment of every program under test: this checkout, unbuffered, in English."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "LC_ALL": "C"}


class Process:
    """A command in a namespace, its output in a log file of its own; may be started again after it ended."""

    def __init__(self, label: str, namespace: Namespace, command: Sequence[str], directory: Path) -> None:
        self.label = label
        self.namespace = namespace
        self.command = list(command)
        self.directory = directory
        self.log_file = directory / f"{label}.log"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command; its output is appended to the log."""
        assert not self.running(), f"{self.label} runs already"
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                self.namespace.command(*self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=environment(),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id of the command itself."""
        assert self._child is not None, f"{self.label} was not started"
        return self._child.pid

    def running(self) -> bool:
        """Whether the command was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def log(self) -> str:
        """All output so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def lines(self, pattern: str) -> list[str]:
        """The lines of the log in which `pattern` is found."""
        return [line for line in self.log().splitlines() if re.search(pattern, line)]

    def wait_for_line(self, pattern: str, timeout: float = PATIENCE, count: int = 1) -> str:
        """Wait until `count` lines of the log match, and return the last of them."""

        what = f"{self.label}: {count} log lines /{pattern}/"
        return wait_until(lambda: self.lines(pattern)[count - 1 :], what, timeout)[-1]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """Send a signal and wait for the end; the exit status, as subprocess has it."""
        assert self._child is not None, f"{self.label} was not started"
        self._child.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the end; the exit status, as subprocess has it."""
        assert self._child is not None, f"{self.label} was not started"
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.label}: did not end within {timeout:g} s") from None

    def close(self) -> None:
        """Make sure that the process is gone."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def ports(self, proto: str) -> set[int]:
        """The local ports bound ('udp') or listened on ('tcp') in the process's namespace, both families."""
        found = set()
        for table in (proto, f"{proto}6"):
            for line in Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if proto == "udp" or state == "0A":
                    found.add(int(local.rpartition(":")[2], 16))
        return found

    def udp_datagrams(self) -> tuple[int, int]:
        """UDP datagrams that this process's namespace has (received, sent) over IPv4."""
        rows = [line.split() for line in Path(f"/proc/{self.pid}/net/snmp").read_text().splitlines()]
        names, values = [row for row in rows if row[0] == "Udp:"]
        counters = dict(zip(names[1:], map(int, values[1:]), strict=True))
        return counters["InDatagrams"], counters["OutDatagrams"]
