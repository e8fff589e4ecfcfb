"""Keyed functions: static keys, control packet wrapping, key derivation, ciphers, replay windows."""
