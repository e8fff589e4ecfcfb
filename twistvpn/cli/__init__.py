"""The `twistvpn` command."""
