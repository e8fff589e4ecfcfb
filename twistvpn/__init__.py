"""OpenVPN on Twisted."""
