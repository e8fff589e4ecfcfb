"""What pyproject.toml cannot tell: the compiled modules, left out where they do not build."""

from pathlib import Path

from setuptools import Extension, setup

CRYPTO = Path("twistvpn/crypto/csrc")
DATA = Path("twistvpn/data/csrc")
LINK = Path("twistvpn/link/csrc")
TUN = Path("twistvpn/tun/csrc")
HEADERS = sorted(map(str, DATA.glob("*.h")))
FLAGS = ["-std=gnu11", "-O3"]

setup(
    ext_modules=[
        Extension(
            "twistvpn.crypto._siv",
            sources=sorted(map(str, CRYPTO.glob("*.c"))),
            depends=sorted(map(str, CRYPTO.glob("*.h"))),
            libraries=["crypto"],
            extra_compile_args=FLAGS,
            optional=True,
        ),
        Extension(
            "twistvpn.data._kernel",
            sources=[*sorted(map(str, DATA.glob("*.c"))), str(CRYPTO / "mac.c")],
            depends=[*HEADERS, str(CRYPTO / "mac.h")],
            libraries=["crypto"],
            extra_compile_args=FLAGS,
            optional=True,
        ),
        Extension(
            "twistvpn.link._datagrams",
            sources=[*sorted(map(str, LINK.glob("*.c"))), str(DATA / "values.c")],
            depends=[*HEADERS, *sorted(map(str, LINK.glob("*.h")))],
            extra_compile_args=FLAGS,
            optional=True,
        ),
        Extension(
            "twistvpn.tun._frames",
            sources=[str(TUN / "frames.c"), str(DATA / "values.c")],
            depends=HEADERS,
            extra_compile_args=FLAGS,
            optional=True,
        ),
    ]
)
