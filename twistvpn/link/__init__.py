"""How datagrams leave and arrive: UDP sockets and streams."""
