from __future__ import annotations

import ctypes
import resource
import subprocess
import sys

import pytest

from twistvpn.allocator import keep_freed_memory

CODE = """
import resource
from twistvpn.allocator import keep_freed_memory

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        batch = [bytes(1400) for _ in range(330)]
        del batch
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
faults(10)
print(faults(100))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this is not glibc")
def test_memory_of_one_batch_serves_the_next() -> None:
    """Without it, every batch gives its pages back and faults them in again."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert int(done.stdout) * resource.getpagesize() < 100 * 330 * 1400 / 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    keep_freed_memory()
