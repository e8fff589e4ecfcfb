"""Imports point one way, the core does no I/O, and nobody imports the global reactor."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "twistvpn"

VALUES = {"compiled", "errors", "interfaces", "nameservers", "overrides", "version"}
CORE = {*VALUES, "config.settings", "crypto", "wire"}
BELOW_PEER = {*CORE, "control", "data", "deadlines"}
EDGES = {"link", "runs", "tun"}
HOUSEKEEPING = {"allocator", "status_file", "verbosity"}

MAY_IMPORT: dict[str, set[str]] = {
    "allocator": set(),
    "compiled": set(),
    "errors": set(),
    "version": set(),
    "interrupts": set(),
    "verbosity": set(),
    "privileges": {"config.settings", "errors"},
    "status_file": {"verbosity"},
    "deadlines": {"verbosity"},
    "interfaces": {"errors"},
    "nameservers": {"errors"},
    "overrides": {"errors"},
    "wire": VALUES,
    "crypto": {*VALUES, "wire"},
    "config": {*VALUES, "crypto", "wire"},
    "pki": {*VALUES, "crypto", "wire"},
    "control": CORE,
    "data": CORE,
    "link": {*VALUES, "verbosity", "wire.framing"},
    "tun": {*VALUES, "verbosity", "wire.framing"},
    "runs": {*VALUES, "wire"},
    "timers": {*CORE, "data"},
    "consistency": {*CORE, "data"},
    "sizes": {*CORE, "data"},
    "keying": {*CORE, "control", "data"},
    "precedence": VALUES,
    "peer": {*BELOW_PEER, "consistency", "keying", "precedence", "sizes", "timers", "verbosity"},
    "server": {*BELOW_PEER, *EDGES, *HOUSEKEEPING, "point_to_point", "consistency", "keying", "peer"},
    "client": {*BELOW_PEER, *EDGES, *HOUSEKEEPING, "point_to_point", "consistency", "keying", "peer"},
    "point_to_point": {*BELOW_PEER, "keying"},
    "memory": VALUES,
    "testing": {*BELOW_PEER, *EDGES, "peer", "client", "server", "config", "memory", "pki", "service"},
    "service": {*BELOW_PEER, *EDGES, "peer", "client", "server", "config"},
    "tap": {*VALUES, *HOUSEKEEPING, "client", "config", "privileges", "server", "service"},
    "cli": {*VALUES, "config", "crypto", "pki", "privileges", "service", "control.verify", "data.kernel"},
}
"""What each part may import of this package beside itself.  A new part has to be given its place here."""

SANS_IO = {"wire", "crypto", "control", "data"}
IO_MODULES = {"asyncio", "select", "selectors", "socket", "subprocess", "threading", "time"}
MAY_HAVE_THE_REACTOR = {"tap"}

MODULES = sorted((ROOT / PACKAGE).rglob("*.py"))
PLUGINS = sorted((ROOT / "twisted" / "plugins").glob("*.py"))


def dotted(path: Path) -> str:
    """The module's name without the package's: 'wire.opcodes', 'wire', 'errors'."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a file imports, whether at its top, in a function or for types only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_under(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def part_of(name: str) -> str:
    """The part that a module of ours belongs to."""
    return name.partition(".")[0]


@pytest.mark.parametrize("path", [path for path in MODULES if dotted(path)], ids=dotted)
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(dotted(path))
    assert part in MAY_IMPORT, f"{part} has no place in MAY_IMPORT"
    allowed = {part, *MAY_IMPORT[part]}
    for line, name in imported(path):
        ours = name.removeprefix(f"{PACKAGE}.")
        if ours != name:
            assert any(is_under(ours, other) for other in allowed), f"{path}:{line}: {part} must not import {name}"


def test_no_part_imports_one_that_imports_it() -> None:
    for part, others in MAY_IMPORT.items():
        for other in map(part_of, others):
            back = {name for name in MAY_IMPORT[other] if "." not in name}
            assert other == part or part not in back, f"{part} and {other}"


@pytest.mark.parametrize("path", [path for path in MODULES if part_of(dotted(path)) in SANS_IO], ids=dotted)
def test_the_core_does_no_input_or_output(path: Path) -> None:
    for line, name in imported(path):
        assert part_of(name) not in IO_MODULES, f"{path}:{line}: {name}: the clock and the network are arguments"
        if part_of(dotted(path)) == "wire":
            assert not is_under(name, "twisted"), f"{path}:{line}: {name}: wire knows no Twisted"


@pytest.mark.parametrize("path", [*MODULES, *PLUGINS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_reactor_is_an_argument(path: Path) -> None:
    if path in PLUGINS or part_of(dotted(path)) in MAY_HAVE_THE_REACTOR:
        return
    for line, name in imported(path):
        assert not is_under(name, "twisted.internet.reactor"), f"{path}:{line}: the reactor is an argument"
