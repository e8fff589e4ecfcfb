"""docs/compatibility.md: what becomes of every option of OpenVPN's, and which test shows it.

    python -m tests.compatibility --write

The options come from `twistvpn.config.options`, the tests from their `shows` marks: of the page only `_HEAD` is
written by hand, and in that what the interop tests have come to with releases that CI does not have.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from twistvpn.config.options import ALIASES, OPTIONS, Treatment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twistvpn.config.options import Option

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "compatibility.md"

MARK = "pytest.mark.shows"
MOST_TESTS = 2
"""Tests that are named for one option."""

_HEAD = """\
# Every option of OpenVPN's

What becomes of each option of OpenVPN 2.4 to 2.7 in a configuration here, in alphabetical order. Made from
`twistvpn/config/options.py` and the tests by `python -m tests.compatibility --write`; a test fails where this page is
not up to date, and where an option that works has no test.

| | |
|---|---|
| **works** | does what it does in stock OpenVPN; the test named shows it, those in `interop/` with a stock peer |
| **no effect** | accepted, and nothing changes, for the reason given; `twistvpn check` says so |
| **by its value** | accepted without effect or refused, by its value |
| **refused** | one line tells why, and what to do instead |

## Which releases have been there

The tests in `interop/` join one stock peer, in both roles, to ours. CI has Debian's 2.6.14. With the others they were
last run by hand before 0.1.0. What a release does not have yet is skipped with that reason, and so are the tests with
OpenVPN 3 where there is none; the rest passed:

| peer | passed | skipped | what it does not have |
|---|---|---|---|
| OpenVPN 2.4.12 | 318 | 24 | tls-crypt-v2, ChaCha20-Poly1305, questions after a login, VLANs, and what 2.5 has not |
| OpenVPN 2.5.11 | 334 | 8 | negotiation in point-to-point mode, and what 2.6 has not |
| OpenVPN 2.6.14 | 336 | 6 | keys by epochs, PUSH_UPDATE |
| OpenVPN 2.7.6 | 341 | 1 | nothing; the test is for clients without PUSH_UPDATE |
| OpenVPN 3, core 3.8.5, a client | 37 | 0 | keys by epochs, PUSH_UPDATE; `test_openvpn3.py` has tests of its own |

To see it again, as root:

    INTEROP_STOCK=/path/to/openvpn python -m pytest -rs -n 3 tests/interop
    INTEROP_OVPN3=/path/to/ovpncli python -m pytest tests/interop/test_openvpn3.py

`ovpncli` is built from `test/ovpncli` in OpenVPN 3's source.

A client of OpenVPN 3 sends under the key before for all of its `hand-window` after a renegotiation, 60 seconds by
default: a server's `reneg-sec` must be longer than that.

## The options

| option | for | here | shown by, or why |
|---|---|---|---|
"""

_WORDS = {
    Treatment.READ: "works",
    Treatment.NO_EFFECT: "no effect",
    Treatment.JUDGED: "by its value",
    Treatment.REFUSED: "refused",
}


def page() -> str:
    """The whole page."""
    shown = tests_by_option()
    rows = {name: _row(option, shown[name]) for name, option in OPTIONS.items()}
    rows |= {alias: f"| `{alias}` | | as `{name}` | |" for alias, name in ALIASES.items()}
    return _HEAD + "".join(f"{rows[name]}\n" for name in sorted(rows))


def _row(option: Option, tests: list[str]) -> str:
    role = "" if option.role is None else option.role.value
    named = ", ".join(f"`{test}`" for test in tests[:MOST_TESTS])
    why = ". ".join(part for part in (option.reason.replace("|", "\\|"), named) if part)
    return f"| `{option.name}` | {role} | {_WORDS[option.treatment]} | {why} |"


def tests_by_option() -> defaultdict[str, list[str]]:
    """The tests that show an option, those with stock peers first."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py"), key=lambda path: (path.parent.name != "interop", path)):
        where = path.relative_to(ROOT / "tests").as_posix()
        for test, option in _marks(ast.parse(path.read_text()).body, ()):
            found[option].append(f"{where}::{test}")
    return found


def _marks(body: list[ast.stmt], inherited: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(test, option) for every option that a mark gives to a test, also by its class or module."""
    options = inherited + tuple(
        option
        for node in body
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "pytestmark" for target in node.targets)
        for option in _marked(node.value)
    )
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        own = options + tuple(option for decorator in node.decorator_list for option in _marked(decorator))
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}::{test}", option) for test, option in _marks(node.body, own))
        elif node.name.startswith("test"):
            yield from ((node.name, option) for option in own)


def _marked(node: ast.expr) -> list[str]:
    return [
        argument.value
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == MARK
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page())
    else:
        sys.stdout.write(page())
