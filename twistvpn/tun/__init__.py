"""The tun device, its addresses and its routes."""
