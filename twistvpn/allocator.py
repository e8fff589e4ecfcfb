"""Telling the C library's allocator what a data path is like."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
"""Parameters of mallopt(3)."""

KEPT = 8 * 1024 * 1024
LONGEST_KEPT = 1024 * 1024


def keep_freed_memory() -> None:
    """Let glibc keep up to `KEPT` freed bytes at the heap's end, and blocks below `LONGEST_KEPT` in the heap.

    A batch of packets is some hundred KB that are freed at once.  By default the memory then goes back to the
    kernel, and the next batch pays for every page anew.  Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, LONGEST_KEPT)
