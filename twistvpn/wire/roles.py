"""The two ends of a tunnel."""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """Which end this is: it decides key directions, TLS roles and the shape of the key exchange."""

    SERVER = "server"
    CLIENT = "client"
