"""What pyproject.toml cannot tell: the compiled kernel, left out of an installation where it does not build."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("twistvpn/data/csrc")

setup(
    ext_modules=[
        Extension(
            "twistvpn.data._kernel",
            sources=sorted(map(str, SOURCES.glob("*.c"))),
            depends=sorted(map(str, SOURCES.glob("*.h"))),
            libraries=["crypto"],
            extra_compile_args=["-std=c11", "-O3"],
            optional=True,
        )
    ]
)
