"""The server: who may come in, under which address, and where each packet goes."""
