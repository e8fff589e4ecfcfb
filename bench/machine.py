"""Where a benchmark ran."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import ssl
import subprocess
import sys
from pathlib import Path

from bench.configs import CIPHER
from tests.interop.process import ROOT, environment
from twistvpn.version import __version__


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def describe() -> dict[str, str]:
    """Machine and versions, by name."""
    return {
        "date": f"{dt.datetime.now(dt.timezone.utc):%Y-%m-%d %H:%M} UTC",
        "cpu": f"{os.cpu_count()} x {_cpu_model()}",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "kernel": platform.release(),
        "twistvpn": __version__,
        "python": f"{platform.python_version()}{' of the distribution' if sys.base_prefix == '/usr' else ''}, "
        f"{ssl.OPENSSL_VERSION}",
        "openvpn": _first_line("openvpn", "--version").partition(" [")[0],
        "iperf3": _first_line("iperf3", "--version").partition(" (")[0],
        "cipher": CIPHER,
    }


def kernel_name(wanted: str) -> str:
    """What our programs call the kernel that TWISTVPN_KERNEL asks for; LookupError where they cannot have it."""
    done = subprocess.run(
        [sys.executable, "-c", "from twistvpn.data import kernel; print(kernel.NAME)"],
        env={**environment(), "TWISTVPN_KERNEL": wanted},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise LookupError(done.stderr.strip().rpartition("\n")[2])
    return done.stdout.strip()
