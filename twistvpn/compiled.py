"""The package's compiled modules, which are there if they could be built at installation.

The environment variable TWISTVPN_KERNEL chooses: 'pure' does without them, 'compiled' insists on them.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

VARIABLE = "TWISTVPN_KERNEL"


class Unavailable(ImportError):
    """The environment asks for what is not there; its text is for whoever has set it."""


def find(name: str) -> ModuleType | None:
    """Import a compiled module, None where it was not built or a library of it is missing."""
    try:
        return import_module(name)
    except ImportError:
        return None


def wanted(name: str) -> ModuleType | None:
    """Import a compiled module if the environment lets us.  Raises `Unavailable` where it insists and there is none."""
    choice = os.environ.get(VARIABLE, "")
    if choice not in {"", "pure", "compiled"}:
        raise Unavailable(f"{VARIABLE} is {choice!r}: there are 'pure' and 'compiled'")
    found = None if choice == "pure" else find(name)
    if found is None and choice == "compiled":
        raise Unavailable(f"{VARIABLE} is 'compiled', but {name} was not built at installation or cannot be loaded")
    return found
