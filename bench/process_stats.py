"""What a process and its children have used so far (proc_pid_stat(5))."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

_UTIME, _STIME, _RSS = 11, 12, 21
"""Places behind the command's name."""


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, of the process tree."""
    return sum(int(fields[_UTIME]) + int(fields[_STIME]) for fields in map(_fields, family(pid))) / _TICKS


def resident_bytes(pid: int) -> int:
    """Resident memory of the process tree."""
    return sum(int(_fields(member)[_RSS]) for member in family(pid)) * _PAGE
