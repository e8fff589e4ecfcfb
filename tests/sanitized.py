"""Compiled modules under AddressSanitizer and UBSan: built into a temporary folder and loaded in a second process.

A script calls `main` with what it fuzzes.  Its exit status is 77 where there is no compiler with the sanitizers,
headers of Python or headers of OpenSSL.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
BUILT = "TWISTVPN_SANITIZED"
"""Tells the second process, which has the sanitizers loaded, where the modules are."""
SKIPPED = 77
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-Wno-cast-function-type"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


class Module(NamedTuple):
    """A module of the package, and what it is made of."""

    name: str
    sources: Sequence[str]
    """Patterns of files, from the project's folder."""
    libraries: Sequence[str] = ()


def say(line: str) -> None:
    """Write a line for whoever runs this."""
    sys.stdout.write(f"{line}\n")


def build(module: Module, folder: Path) -> Path:
    """Compile a module with the sanitizers."""
    made = folder / f"{module.name.rpartition('.')[2]}.so"
    sources = sorted(str(path) for pattern in module.sources for path in ROOT.glob(pattern))
    command = [
        *("gcc", "-shared", "-fPIC", "-O1", "-g", "-std=gnu11"),
        *WARNINGS,
        *SANITIZERS,
        f"-I{sysconfig.get_paths()['include']}",
        *sources,
        *(f"-l{library}" for library in module.libraries),
        *("-o", str(made)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        say("there is no gcc")
        raise SystemExit(SKIPPED) from None
    if done.returncode:
        missing = "Python.h" in done.stderr or "openssl/" in done.stderr or "lasan" in done.stderr
        say(done.stderr)
        raise SystemExit(SKIPPED if missing else 1)
    return made


def load(name: str, path: str) -> Any:
    """Import a module that `build` has made."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rounds(fuzz: Callable[[int], None], seconds: float, first: int) -> None:
    end = time.monotonic() + seconds
    seed = first
    while time.monotonic() < end or seed == first:
        try:
            fuzz(seed)
        except BaseException:
            say(f"with --seed {seed}")
            raise
        seed += 1
    say(f"{seed - first} rounds from seed {first}: nothing found")


def main(description: str | None, modules: Sequence[Module], fuzz: Callable[[Mapping[str, Any], int], None]) -> None:
    """Build the modules, start over with the sanitizers loaded, and let `fuzz` have them, a seed a round."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if BUILT in os.environ:
        built = json.loads(os.environ[BUILT])
        loaded = {name: load(name, path) for name, path in built.items()}
        _rounds(lambda seed: fuzz(loaded, seed), options.seconds, options.seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        made = {module.name: str(build(module, Path(folder))) for module in modules}
        runtime = [
            subprocess.run(
                ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
            ).stdout.strip()
            for name in ("libasan.so", "libubsan.so")
        ]
        environment = {
            **os.environ,
            BUILT: json.dumps(made),
            "LD_PRELOAD": " ".join(runtime),
            "PYTHONMALLOC": "malloc",
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        raise SystemExit(subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode)
